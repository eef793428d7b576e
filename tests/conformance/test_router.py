"""Every recorded run of KServe's router, repeated over HTTP against `python -m services.graph`."""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

VECTORS = json.loads(Path(__file__).with_name("router_vectors.json").read_text())
SERVED = [vector for vector in VECTORS if not vector.get("refused_at_start")]
REFUSED = [vector for vector in VECTORS if vector.get("refused_at_start")]
# What a refusal must name for its reader to find the fault.
NAMED_FAULTS = {
    "seq empty steps": "without steps",
    "splitter sum 50 x60": "[50] do not sum to 100",
    "splitter missing weight": "needs a weight",
    "node missing": "'ghost'",
    "no root": "'root' is missing",
    "bad routerType": "'Foo'",
    "cycle root->root": "root -> root",
}
# Causes that are the router's own words; the others are Go's and differ between its versions.
OWN_CAUSES = ("invalid response", "None of the routes matched with the switch condition")


@dataclass(frozen=True)
class Outcome:
    """What the client and the services saw of one run."""

    status: int | str
    content_type: str | None
    body: str
    calls: list[list[str]]


@pytest.fixture(scope="module")
def outcomes(serving, running) -> Mapping[str, Outcome]:
    def run(vector: dict[str, Any]) -> Outcome:
        with serving(vector["services"]) as services:
            spec = json.dumps(vector["graph"])
            for name in vector["services"]:
                spec = spec.replace(f'"svc://{name}"', json.dumps(services.url(name)))
            with running("--graph-json", spec, environment=vector["env"]) as graph:
                status, content_type, body = _ask(graph.url, vector["request"])
                # A node that failed early leaves its other branches running; they must arrive before the process goes.
                wanted, deadline = vector["expect"]["calls"] or [], time.monotonic() + 5
                while isinstance(wanted, list) and len(services.calls) < len(wanted) and time.monotonic() < deadline:
                    time.sleep(0.01)
            calls = sorted([name, received.decode("latin-1")[:80]] for name, received in services.calls)
            return Outcome(status, content_type, body, calls)

    # Each run is a process that mostly waits to be started; a few at a time keep both cores busy.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip((vector["case"] for vector in SERVED), pool.map(run, SERVED), strict=True))


def _ask(url: str, request: dict[str, Any]) -> tuple[int | str, str | None, str]:
    try:
        response = httpx.request(
            request["method"],
            url + request["path"],
            content=request["body"].encode("latin-1"),
            headers=request["headers"],
            timeout=20,
        )
    except httpx.RemoteProtocolError:
        return "EXC", None, ""
    return response.status_code, response.headers.get("Content-Type"), response.content.decode("latin-1")


@pytest.mark.parametrize("vector", SERVED, ids=lambda vector: vector["case"])
def test_a_graph_answers_as_the_real_router_did(vector: dict[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    outcome, expected = outcomes[vector["case"]], vector["expect"]
    assert outcome.status == expected["status"]
    if expected["calls"] is not None:
        assert outcome.calls == expected["calls"]
    if expected["status"] == "EXC":
        return
    assert outcome.content_type == expected["content_type"]
    if '"cause"' in expected["body"] and not any(cause in expected["body"] for cause in OWN_CAUSES):
        error = json.loads(outcome.body)
        assert error["error"] == "Failed to process request"
        assert error["cause"]
    else:
        assert outcome.body == expected["body"]


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["case"])
def test_a_graph_that_breaks_the_router_is_refused_at_start(vector: dict[str, Any], running) -> None:
    spec = json.dumps(vector["graph"]).replace("svc://", "http://127.0.0.1:1/")
    with running("--graph-json", spec) as graph:
        assert graph.process.wait(timeout=30) == 2
        assert not graph.url
    assert len(graph.lines) == 1
    assert NAMED_FAULTS[vector["case"]] in graph.lines[0]
