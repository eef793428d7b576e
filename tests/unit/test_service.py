import json
from typing import Any

import pytest

from services.contracts.errors import BadInput
from services.contracts.message import Message
from services.service import Service


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
