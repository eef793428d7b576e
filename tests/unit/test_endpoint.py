import asyncio
import json
from typing import Any

import pytest

from services.contracts.errors import BadInput
from services.contracts.message import Message
from services.endpoint import BodyLimit, Service


class Question(Message):
    text: str


class Answer(Message):
    text: str


def refuse(_question: Question) -> Message:
    raise BadInput("no such clip: give another uri")


def fail(_question: Question) -> Message:
    raise RuntimeError("secret detail")


def answer(verb: Any, body: bytes) -> tuple[int, Any]:
    status, reply = Service("echo", Question, verb).answer(body)
    return status, json.loads(reply)


def test_a_message_is_answered() -> None:
    assert answer(lambda question: Answer(text=question.text), b'{"text": "x"}') == (200, {"text": "x"})


def test_what_the_caller_can_mend_keeps_its_message_and_status() -> None:
    assert answer(refuse, b'{"text": "x"}') == (422, {"error": "no such clip: give another uri"})


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"text": 1}', "text: Input should be a valid string"),
        (b'{"text": "x", "extra": 1}', "extra: Extra inputs are not permitted"),
        (b"{", "Invalid JSON"),
        (b"[]", "body: Input should be an object"),
    ],
)
def test_a_malformed_request_is_400_and_names_the_field(body: bytes, fault: str) -> None:
    status, reply = answer(refuse, body)
    assert status == 400
    assert fault in reply["error"]


def test_a_fault_of_ours_is_500_and_keeps_its_details_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    status, reply = answer(fail, b'{"text": "x"}')
    assert status == 500
    assert "secret detail" not in reply["error"]
    incident = reply["error"].split("incident ")[1].split()[0]
    assert incident in caplog.text
    assert "secret detail" in caplog.text


def exchange(chunks: list[bytes], *, declared: int | None = None) -> tuple[int, bytes, list[bytes]]:
    """Status, body and what reached the application behind a limit of 10 bytes."""
    reached: list[bytes] = []
    sent: list[Any] = []
    queue = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        reached.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> Any:
        return queue.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    asyncio.run(BodyLimit(application, 10)({"type": "http", "headers": headers}, receive, send))
    return sent[0]["status"], sent[1]["body"], reached


def test_a_body_within_the_limit_passes_whole() -> None:
    assert exchange([b"12345", b"67890"]) == (200, b"ok", [b"1234567890"])


@pytest.mark.parametrize(("chunks", "declared"), [([b"x"], 11), ([b"123456", b"789012"], None)])
def test_a_body_over_the_limit_never_reaches_the_application(chunks: list[bytes], declared: int | None) -> None:
    status, body, reached = exchange(chunks, declared=declared)
    assert (status, reached) == (413, [])
    assert "limit of 10" in json.loads(body)["error"]
