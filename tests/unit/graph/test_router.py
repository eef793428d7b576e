"""Routing in process, where the recorded runs of the real router leave something open."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from services.graph.router import GraphExecutor, StepTiming
from services.graph.spec import GraphInvalid, parse_graph
from services.graph.transports import LocalServices

Service = Callable[[bytes], tuple[int, bytes]]


def executor(
    services: dict[str, Service], on_step: Callable[[StepTiming], None] | None = None, **nodes: Any
) -> GraphExecutor:
    return GraphExecutor(parse_graph(json.dumps({"nodes": nodes})), LocalServices(services), on_step=on_step)


def node(router_type: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": router_type, "steps": list(steps)}


def says(body: bytes, status: int = 200) -> Service:
    return lambda _: (status, body)


def test_a_switch_without_a_match_is_404_at_the_root_and_500_below() -> None:
    nowhere = node("Switch", {"serviceName": "a", "condition": "nope"})
    at_root = executor({"a": says(b"1")}, root=nowhere).run(b"{}")
    below = executor({"a": says(b"1")}, root=node("Sequence", {"nodeName": "x"}), x=nowhere).run(b"{}")
    assert (at_root.status, below.status) == (404, 500)
    assert at_root.body == below.body


def test_an_unmet_condition_after_a_soft_failure_answers_200_with_its_body() -> None:
    steps = {"serviceName": "a"}, {"serviceName": "a", "condition": "nope"}
    reply = executor({"a": says(b'{"detail":1}', 404)}, root=node("Sequence", *steps)).run(b"{}")
    assert (reply.status, reply.body) == (200, b'{"detail":1}')


def test_a_hard_failure_stops_a_sequence_with_its_status_and_body() -> None:
    steps = {"serviceName": "bad", "dependency": "Hard"}, {"serviceName": "never"}
    never: list[bytes] = []
    services: dict[str, Service] = {
        "bad": says(b"busy", 503),
        "never": lambda body: (never.append(body), (200, b""))[1],
    }
    reply = executor(services, root=node("Sequence", *steps)).run(b"{}")
    assert (reply.status, reply.body, reply.content_type) == (503, b"busy", "text/plain; charset=utf-8")
    assert never == []


def test_an_ensemble_runs_its_branches_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def meet(_: bytes) -> tuple[int, bytes]:
        meeting.wait()
        return 200, b'{"id":12345678901234567890}'

    reply = executor({"a": meet}, root=node("Ensemble", {"serviceName": "a"}, {"serviceName": "a"})).run(b"")
    assert reply.body == b'{"0":{"id":12345678901234567000},"1":{"id":12345678901234567000}}'


def test_a_failed_branch_does_not_wait_for_a_slow_one() -> None:
    release = threading.Event()

    def slow(_: bytes) -> tuple[int, bytes]:
        release.wait(10)
        return 200, b"{}"

    steps = {"serviceName": "slow"}, {"serviceName": "array"}
    started_seconds = time.monotonic()
    reply = executor({"slow": slow, "array": says(b"[]")}, root=node("Ensemble", *steps)).run(b"")
    release.set()
    assert reply.status == 500
    assert time.monotonic() - started_seconds < 5


@pytest.mark.parametrize(
    ("body", "status", "merged"),
    [(b"null", 200, b'{"0":null}'), (b"[]", 500, None), (b"1", 500, None), (b'{"n":1e999}', 500, None)],
)
def test_an_ensemble_merges_objects_and_null_alone(body: bytes, status: int, merged: bytes | None) -> None:
    reply = executor({"a": says(body)}, root=node("Ensemble", {"serviceName": "a"})).run(b"")
    assert reply.status == status
    assert merged is None or reply.body == merged


def test_an_ensemble_of_answers_nested_too_deep_fails_and_does_not_crash() -> None:
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    reply = executor({"a": says(nested)}, root=node("Ensemble", {"serviceName": "a"})).run(b"")
    assert reply.status == 500
    assert b"nested too deep" in reply.body


def test_a_splitter_draws_by_weight() -> None:
    steps = {"serviceName": "a", "weight": 30}, {"serviceName": "b", "weight": 0}, {"serviceName": "c", "weight": 70}
    split = executor({name: says(name.encode()) for name in "abc"}, root=node("Splitter", *steps))
    drawn = [split.run(b"").body for _ in range(1000)]
    assert b"b" not in drawn
    # Six standard deviations: a false alarm in a thousand million runs.
    assert 210 < drawn.count(b"a") < 390


def test_a_fault_of_a_function_reaches_the_caller_even_from_a_branch() -> None:
    def broken(_: bytes) -> tuple[int, bytes]:
        raise ZeroDivisionError

    for router_type in ("Sequence", "Ensemble"):
        with pytest.raises(ZeroDivisionError):
            executor({"a": broken}, root=node(router_type, {"serviceName": "a"})).run(b"")


def test_a_sequence_runs_on_the_thread_that_asked() -> None:
    threads: list[threading.Thread] = []

    def note(_: bytes) -> tuple[int, bytes]:
        threads.append(threading.current_thread())
        return 200, b""

    executor({"a": note}, root=node("Sequence", {"serviceName": "a"})).run(b"")
    assert threads == [threading.current_thread()]


def test_every_step_is_timed_and_logged_without_its_body(caplog: pytest.LogCaptureFixture) -> None:
    def slow(_: bytes) -> tuple[int, bytes]:
        time.sleep(0.02)
        return 201, b'{"secret":1}'

    timings: list[StepTiming] = []
    graph = {"root": node("Sequence", {"name": "x", "nodeName": "n"}), "n": node("Ensemble", {"serviceName": "a"})}
    with caplog.at_level("INFO"):
        executor({"a": slow}, on_step=timings.append, **graph).run(b"")
    assert [(t.node, t.step, t.service, t.status) for t in timings] == [("n", "0", "a", 201), ("root", "x", "", 200)]
    assert timings[1].milliseconds >= timings[0].milliseconds >= 20
    assert "step node=n step=0 status=201 milliseconds=" in caplog.text
    assert "secret" not in caplog.text


def test_a_service_without_a_function_is_refused_before_anything_runs() -> None:
    with pytest.raises(GraphInvalid, match="no function for b"):
        executor({"a": says(b"")}, root=node("Sequence", {"serviceName": "a"}, {"serviceName": "b"}))
