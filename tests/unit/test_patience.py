import json

import pytest

from services.patience import send_patiently

BUSY = (503, json.dumps({"error": "16 requests are waiting already", "retry_after_seconds": 7}).encode())
UNREACHED = (500, b'{"error":"Failed to process request","cause":"POST http://x: refused"}')
DONE = (200, b"{}")


def replies_of(*replies: tuple[int, bytes], patience_seconds: float = 60) -> tuple[tuple[int, bytes], list[float]]:
    left, pauses = list(replies), []
    reply = send_patiently(lambda _: left.pop(0), patience_seconds=patience_seconds, sleep=pauses.append)(b"request")
    assert not left
    return reply, pauses


def test_a_busy_graph_is_asked_again_when_it_says() -> None:
    assert replies_of(BUSY, BUSY, DONE) == (DONE, [7, 7])


def test_a_service_that_restarts_is_waited_for() -> None:
    assert replies_of(UNREACHED, DONE) == (DONE, [2])


@pytest.mark.parametrize(
    "reply",
    [
        (422, b'{"error": "not a video"}'),
        (503, b'{"error": "no champion for action"}'),
        (500, b'{"error": "internal fault in tracks: incident 1"}'),
        (503, b"<html>"),
    ],
)
def test_an_answer_that_stays_is_taken_at_once(reply: tuple[int, bytes]) -> None:
    assert replies_of(reply) == (reply, [])


def test_patience_ends() -> None:
    assert replies_of(*[BUSY] * 3, patience_seconds=20) == (BUSY, [7, 7])
