import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from services.contracts.action import Action, ActionResponse, ActionSegment
from services.contracts.card import Reference
from services.contracts.clip import ClipRef
from services.contracts.identity import GalleryRef, Identity, IdentityResponse, TrackIdentity
from services.contracts.tracks import EvidenceRef, TracksResponse, TrackSummary, Video
from services.models.store import read_card
from services.observation.drift import Drift
from services.observation.metrics import ServiceMetrics

TRACKS = TracksResponse(
    clip=ClipRef(clip_id="a" * 64, uri="file:///clip.mp4"),
    video=Video(width_px=8, height_px=8, start_seconds=0, end_seconds=1, frames=1, codec="h264"),
    evidence=EvidenceRef(uri="file:///evidence.zip", sha256="b" * 64),
    tracks=tuple(
        TrackSummary(track_id=t, start_seconds=0, end_seconds=1, boxes=9, faces=2) for t in ("t1", "t2", "t3")
    ),
    models=(),
)
WHO = IdentityResponse(
    tracks=TRACKS,
    gallery=GalleryRef(sha256="c" * 64, embedding_space="s", subjects=1),
    identities=(
        TrackIdentity(
            track_id="t1", identity=Identity(subject_id="ada", decision="match", similarity=0.97), faces_used=2
        ),
        TrackIdentity(
            track_id="t2", identity=Identity(subject_id=None, decision="unknown", similarity=0.5), faces_used=2
        ),
        TrackIdentity(
            track_id="t3", identity=Identity(subject_id=None, decision="abstained", reason="no face"), faces_used=0
        ),
    ),
    models=(),
)
WHAT = ActionResponse(
    tracks=TRACKS,
    segments=(
        ActionSegment(track_id="t1", action=Action(name="walk", probability=0.9), start_seconds=0, end_seconds=1),
    ),
    models=(),
)


class Figures:
    """What one service's metrics say."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ServiceMetrics(service, self.registry)

    def __call__(self, figure: str, /, **labels: str) -> float | None:
        return self.registry.get_sample_value(figure, labels)


def test_answers_are_counted_by_what_they_say() -> None:
    identity = Figures("identity")
    identity.metrics.gave(WHO)
    for decision in ("match", "unknown", "abstained"):
        assert identity("whodid_identities_total", service="identity", decision=decision) == 1
    assert identity("whodid_faces_total", service="identity") == 4
    assert identity("whodid_similarity_count", service="identity") == 2
    tracks = Figures("tracks")
    tracks.metrics.gave(TRACKS)
    assert tracks("whodid_tracks_total", service="tracks") == 3
    assert tracks("whodid_faces_total", service="tracks") == 6
    action = Figures("action")
    action.metrics.gave(WHAT)
    assert action("whodid_action_probability_sum", service="action", action="walk") == 0.9


def test_figures_name_nobody() -> None:
    figures = Figures("identity")
    figures.metrics.gave(WHO)
    assert b"ada" not in generate_latest(figures.registry)


def test_requests_queue_and_batches_are_counted() -> None:
    figures = Figures("action")
    figures.metrics.finish(200, 0.2)
    figures.metrics.finish(503, 0.0)
    figures.metrics.refuse()
    figures.metrics.queue(running=1, waiting=3)
    figures.metrics.run_batch("action-cnn-lstm", 16, 0.05)
    figures.metrics.time_stages({"decode": 2.5})
    assert figures("whodid_requests_total", service="action", status="503") == 1
    assert figures("whodid_requests_refused_total", service="action") == 1
    assert figures("whodid_requests_waiting", service="action") == 3
    assert figures("whodid_batch_size_sum", service="action", network="action-cnn-lstm") == 16
    assert figures("whodid_stage_seconds_sum", service="action", stage="decode") == 2.5


def test_only_the_version_that_serves_is_named(repository: Path) -> None:
    card = read_card(repository / "data" / "models" / "action-cnn-lstm" / "card.json").card
    figures = Figures("action")
    figures.metrics.serve((card,), loaded=True)
    figures.metrics.serve((), loaded=False)
    newer = card.model_copy(update={"version": "2"})
    figures.metrics.serve((newer,), loaded=True)
    named = {"service": "action", "name": card.name, "sha256": card.weights.sha256}
    assert figures("whodid_model_info", **named, version="2") == 1
    assert figures("whodid_model_info", **named, version=card.version) is None
    assert figures("whodid_loads_total", service="action", outcome="refused") == 1


REFERENCE = Reference(quantity="probability", edges=(0.25, 0.5, 0.75), shares=(0.1, 0.2, 0.3, 0.4))


def test_drift_says_nothing_before_there_is_enough() -> None:
    drift = Drift(REFERENCE)
    assert [drift.add(0.9) for _ in range(99)] == [None] * 99
    assert drift.add(0.9) is not None


def test_values_spread_as_the_reference_do_not_drift_and_others_do() -> None:
    alike, other = Drift(REFERENCE), Drift(REFERENCE)
    for _ in range(100):
        for value in [0.1] + [0.3] * 2 + [0.6] * 3 + [0.8] * 4:
            same = alike.add(value)
        for value in [0.1] * 4 + [0.3] * 3 + [0.6] * 2 + [0.8]:
            changed = other.add(value)
    assert same == pytest.approx(0, abs=1e-9)
    # Sum of (found - expected) ln(found / expected) over the four bins, by hand.
    assert changed == pytest.approx(0.3 * 1.3862944 * 2 + 0.1 * 0.4054651 * 2, abs=1e-6)


def test_a_reference_has_one_share_a_bin() -> None:
    with pytest.raises(ValueError, match="4 bins, not 3"):
        Reference(quantity="similarity", edges=(0.25, 0.5, 0.75), shares=(0.2, 0.3, 0.5))
    with pytest.raises(ValueError, match="sum to"):
        Reference(quantity="similarity", edges=(0.5,), shares=(0.2, 0.3))


def exported() -> set[str]:
    figures = Figures("any")
    # Some figures have samples only once their labels are known.
    text = generate_latest(figures.registry).decode()
    names = set(re.findall(r"^# TYPE (whodid_\w+)", text, re.MULTILINE))
    return names | {f"{name}_{suffix}" for name in names for suffix in ("bucket", "sum", "count")}


def test_alerts_and_dashboard_ask_for_figures_that_exist(repository: Path) -> None:
    folder = repository / "infra" / "observability"
    rules = yaml.safe_load((folder / "alerts.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((folder / "dashboard.json").read_text())["panels"]
    queries = [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"whodid_\w+", query)}
    assert asked <= exported(), asked - exported()
    assert all({"summary", "action"} <= set(rule["annotations"]) for rule in rules)
