import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.contracts.errors import Busy, MissingModel
from services.contracts.message import Message
from services.hosting import Hosted, Queue
from services.service import Service


class Question(Message):
    text: str


@dataclass
class Versions:
    """Loads version after version; each answers with its number, and waits when told to."""

    refusals: set[int] = field(default_factory=set)
    warmed: list[int] = field(default_factory=list)
    number: int = 0
    hold: threading.Event | None = None

    def load(self) -> Service[Any]:
        self.number += 1
        number, hold = self.number, self.hold
        if number in self.refusals:
            raise MissingModel(f"version {number} is not the file it should be")

        def verb(_: Question) -> Question:
            if hold is not None:
                hold.wait()
            return Question(text=str(number))

        return Service("echo", Question, verb, warm_up=lambda: self.warmed.append(number))


def ask(service: Service[Any]) -> str:
    status, body = service.answer(b'{"text": "which?"}')
    assert status == 200
    return Question.model_validate_json(body).text


def test_nothing_answers_before_the_first_version_is_warm() -> None:
    versions = Versions()
    hosted = Hosted(versions.load)
    assert hosted.why_not_ready() == "its model is being loaded"
    with pytest.raises(Busy) as busy:
        hosted.take()
    assert busy.value.retry_after_seconds > 0
    hosted.renew()
    assert versions.warmed == [1]
    assert hosted.why_not_ready() is None
    assert ask(hosted.take()) == "1"


def test_a_refused_first_version_says_why() -> None:
    hosted = Hosted(Versions(refusals={1}).load)
    with pytest.raises(MissingModel):
        hosted.renew()
    assert hosted.why_not_ready() == "version 1 is not the file it should be"
    with pytest.raises(MissingModel, match="not the file"):
        hosted.take()


def test_a_request_under_way_ends_on_the_version_it_began_with() -> None:
    versions = Versions(hold=threading.Event())
    hosted = Hosted(versions.load)
    hosted.renew()
    answers: list[str] = []
    old = hosted.take()
    under_way = threading.Thread(target=lambda: answers.append(ask(old)))
    under_way.start()
    hold, versions.hold = versions.hold, None
    hosted.renew()
    assert ask(hosted.take()) == "2"
    assert hold is not None
    hold.set()
    under_way.join()
    assert answers == ["1"]


def test_a_refused_second_version_leaves_the_first() -> None:
    hosted = Hosted(Versions(refusals={2}).load)
    hosted.renew()
    with pytest.raises(MissingModel):
        hosted.renew()
    assert hosted.why_not_ready() is None
    assert ask(hosted.take()) == "1"


def test_a_version_that_fails_its_first_run_never_answers() -> None:
    def broken() -> None:
        raise MissingModel("the engine cannot run it")

    hosted = Hosted(lambda: Service("echo", Question, lambda question: question, warm_up=broken))
    with pytest.raises(MissingModel):
        hosted.renew()
    assert hosted.why_not_ready() == "the engine cannot run it"


def test_draining_is_unready_and_answers() -> None:
    hosted = Hosted(Versions().load)
    hosted.renew()
    hosted.drain()
    assert hosted.why_not_ready() == "it is being stopped"
    assert ask(hosted.take()) == "1"


def test_a_full_queue_turns_the_next_away_until_one_leaves() -> None:
    queue = Queue(workers=2, most_waiting=1)
    for _ in range(3):
        queue.enter()
    assert (queue.running, queue.waiting) == (2, 1)
    with pytest.raises(Busy, match="1 requests are waiting"):
        queue.enter()
    queue.leave(1.0)
    queue.enter()
    assert (queue.running, queue.waiting) == (2, 1)


def test_the_slower_the_work_the_later_the_next_attempt() -> None:
    def after(seconds: float) -> int:
        queue = Queue(workers=1, most_waiting=0)
        for _ in range(40):
            queue.enter()
            queue.leave(seconds)
        queue.enter()
        with pytest.raises(Busy) as busy:
            queue.enter()
        return busy.value.retry_after_seconds

    assert (after(0.01), after(10), after(1000)) == (1, 10, 60)
