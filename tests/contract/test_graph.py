"""Each service's answer is the next one's request, through the shipped graph and its float64 numbers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.contracts.events import Analysis, EventsRequest
from services.contracts.message import Message
from services.contracts.tracks import TracksRequest, TracksResponse
from services.events.join import join_events
from services.graph.router import GraphExecutor, Reply
from services.graph.spec import load_graph
from services.graph.transports import LocalServices
from services.service import Service
from tests.unit.events.test_join import CLIP, actions, identities, tracks

GOLDEN = Path(__file__).parent / "golden"


def run(repository: Path, **replaced: Callable[[bytes], tuple[int, bytes]]) -> Reply:
    services = {
        "tracks": Service("tracks", TracksRequest, lambda _: tracks()).answer,
        "identity": Service("identity", TracksResponse, lambda _: identities()).answer,
        "action": Service("action", TracksResponse, lambda _: actions()).answer,
        "events": Service("events", EventsRequest, join_events).answer,
    }
    executor = GraphExecutor(load_graph(repository / "infra/base/graph.yaml"), LocalServices(services | replaced))
    return executor.run(TracksRequest(clip=CLIP).to_json())


def test_the_graph_answers_with_an_analysis(repository: Path) -> None:
    reply = run(repository)
    assert reply.status == 200
    assert Analysis.model_validate_json(reply.body) == join_events(
        EventsRequest(identity=identities(), action=actions())
    )


@pytest.mark.parametrize("branch", ["identity", "action"])
def test_half_an_answer_is_marked_partial(repository: Path, branch: str) -> None:
    reply = run(repository, **{branch: lambda _: (503, b'{"error": "no weights"}')})
    analysis = Analysis.model_validate_json(reply.body)
    assert (analysis.status, analysis.failures) == ("partial", {branch: "no weights"})


def test_without_tracks_there_is_no_analysis(repository: Path) -> None:
    reply = run(repository, tracks=lambda _: (422, b'{"error": "not a video"}'))
    assert (reply.status, json.loads(reply.body)) == (422, {"error": "not a video"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tracks_response", TracksResponse), ("events_request", EventsRequest), ("analysis", Analysis)],
)
def test_the_wire_format_is_the_golden_one(name: str, kind: type[Message]) -> None:
    """A change here breaks every client: give the message a new version instead."""
    golden = (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")
    assert kind.model_validate_json(golden).to_json() == golden
    current = {
        "tracks_response": tracks(),
        "events_request": EventsRequest(identity=identities(), action=actions()),
        "analysis": join_events(EventsRequest(identity=identities(), action=actions())),
    }[name]
    assert current.to_json() == golden
