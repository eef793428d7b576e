"""What a request leaves behind in log and metrics."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.contracts.message import Message
from services.contracts.tracks import TracksResponse
from services.desk import Desk, Refused
from services.hosting import Hosted, Queue
from services.observation.logs import JsonFormatter
from services.observation.metrics import ServiceMetrics
from services.observation.traces import Tracing
from services.service import Service
from tests.unit.observation.test_metrics import TRACKS, WHO

NAME = "ada"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonFormatter("identity"))
    logger = logging.getLogger("services")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def make_desk(verb: Callable[[TracksResponse], Message], *, waiting: int = 4) -> tuple[Desk, CollectorRegistry]:
    registry = CollectorRegistry()
    hosted = Hosted(lambda: Service("identity", TracksResponse, verb))
    hosted.renew()
    metrics = ServiceMetrics("identity", registry)
    return Desk("identity", hosted, Queue(1, waiting), metrics, Tracing()), registry


def test_a_request_is_logged_by_its_ids_and_without_whom_it_found(log: io.StringIO) -> None:
    desk, registry = make_desk(lambda _: WHO)
    headers = {"x-request-id": "r-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = asyncio.run(desk.answer(TRACKS.to_json(), headers))
    assert NAME in answer.decode()
    line = json.loads(log.getvalue())
    assert (line["request_id"], line["clip_id"], line["trace_id"]) == ("r-1", "a" * 64, TRACE)
    assert line["status"] == 200
    assert NAME not in log.getvalue() + generate_latest(registry).decode()


def test_a_fault_is_logged_without_what_it_choked_on(log: io.StringIO) -> None:
    def fail(_: TracksResponse) -> Message:
        raise RuntimeError(f"no template for {NAME}: [0.12, 0.34]")

    desk, registry = make_desk(fail)
    with pytest.raises(Refused) as refused:
        asyncio.run(desk.answer(TRACKS.to_json(), {"x-request-id": f"{NAME} {NAME}\n"}))
    assert refused.value.status == 500
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["ERROR", "INFO"]
    assert lines[0]["incident"] in refused.value.body.decode()
    assert lines[0]["error_type"] == "RuntimeError"
    assert NAME not in log.getvalue()
    assert "0.12" not in log.getvalue()
    assert registry.get_sample_value("whodid_requests_total", {"service": "identity", "status": "500"}) == 1


def test_one_too_many_is_turned_away_and_counted() -> None:
    desk, registry = make_desk(lambda _: WHO, waiting=0)

    async def ask_twice() -> list[object]:
        asked = (desk.answer(TRACKS.to_json(), {}) for _ in range(2))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    first, second = asyncio.run(ask_twice())
    assert isinstance(first, bytes)
    assert isinstance(second, Refused)
    assert (second.status, json.loads(second.body)["retry_after_seconds"]) == (503, second.retry_after_seconds)
    assert registry.get_sample_value("whodid_requests_refused_total", {"service": "identity"}) == 1
    assert registry.get_sample_value("whodid_requests_waiting", {"service": "identity"}) == 0
