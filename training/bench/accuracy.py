"""Accuracy: rendered clips through the graph file, against what was rendered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.analysis import run_here
from services.client import analyze_clip, refer_to_clip
from services.contracts.events import Analysis
from services.perception.evidence import open_evidence
from services.perception.track import Track
from training.bench.table import Bar, BenchTable, Cell
from training.bench.workplace import Workplace
from training.datasets.manifests import read_manifest
from training.datasets.truth import NOBODY, PersonTruth, commonest, match_track
from training.metrics.events import Claim, EventScores, Happening, match_events, score_events
from training.metrics.intervals import bootstrap_interval

TEMPORAL_IOU = 0.5
# Whom a box shows: the person it overlaps best. Boxes of people who lie are loose, but not about who it is.
BOX_IOU = 0.3
_DRAWS = 1000
_SEED = 0

_LEAST_F1 = 0.85


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """One clip's truth and answers.

    Attributes:
        clip: Its stem.
        truths: What happens; who is not enrolled has no name.
        claims: Events that say who, or that it is nobody known.
        abstained: Events that do not say who. They answer nothing, but count as answers.
    """

    clip: str
    truths: list[Happening]
    claims: list[Claim]
    abstained: list[Claim]

    @property
    def scores(self) -> EventScores:
        """What was right, swapped and wrongly named."""
        decided = score_events(self.truths, self.claims, minimum_iou=TEMPORAL_IOU)
        return replace(decided, claims=decided.claims + len(self.abstained))


def measure_accuracy(
    workplace: Workplace, scenes: Path, *, verbose: bool, on_progress: Callable[[str, float, float], None]
) -> BenchTable:
    """Analyse every clip of a set and join its events to the truth.

    Args:
        workplace: Who is enrolled.
        scenes: A folder with a manifest.
        verbose: Whether remarks list everything missed and wrong.
        on_progress: Told "accuracy", clips done and clips in all.
    """
    _, clips = read_manifest(scenes)
    send = run_here(workplace.settings)
    outcomes, models = [], ""
    for done, clip in enumerate(clips):
        on_progress("accuracy", done, len(clips))
        analysis = analyze_clip(send, refer_to_clip(clip.path))
        with open_evidence(analysis.evidence.uri, analysis.evidence.sha256) as evidence:
            tracks = evidence.tracks()
        outcomes.append(judge_clip(clip.path.stem, analysis, tracks, clip.people, workplace.enrolled))
        models = describe_models(analysis)
    on_progress("accuracy", len(clips), len(clips))
    return tabulate(outcomes, f"{scenes.name}; {len(workplace.enrolled)} enrolled; {models}", verbose=verbose)


def judge_clip(
    clip: str, analysis: Analysis, tracks: Sequence[Track], people: Sequence[PersonTruth], enrolled: frozenset[str]
) -> ClipOutcome:
    """Put every event beside the person whom its track shows while it lasts.

    Args:
        clip: Its stem, as in the truth.
        analysis: What was answered.
        tracks: The boxes behind the answer.
        people: What is true.
        enrolled: Who has a name; everyone else is to be called unknown.
    """
    shown = {track.track_id: np.array(match_track(track, people, minimum_iou=BOX_IOU)) for track in tracks}
    times = {track.track_id: track.pts_seconds for track in tracks}
    claims: list[Claim] = []
    abstained: list[Claim] = []
    for event in analysis.events:
        during = (times[event.track_id] >= event.start_seconds) & (times[event.track_id] < event.end_seconds)
        person = commonest(shown[event.track_id][during].tolist()) if during.any() else NOBODY
        (abstained if event.identity.decision == "abstained" else claims).append(
            Claim(
                clip=clip,
                subject_id=event.identity.subject_id,
                action=event.action.name,
                start_seconds=event.start_seconds,
                end_seconds=event.end_seconds,
                shown_id=person if person in enrolled else None,
                misplaced=person == NOBODY,
            )
        )
    truths = [
        happening if happening.subject_id in enrolled else replace(happening, subject_id=None)
        for person in people
        for happening in person.happenings
    ]
    return ClipOutcome(clip, truths, claims, abstained)


def tabulate(outcomes: Sequence[ClipOutcome], what: str, *, verbose: bool = False) -> BenchTable:
    """Scores by clip and over all, with an interval."""
    whole = _sum([outcome.scores for outcome in outcomes])
    low, high = f1_interval(outcomes)
    rows: list[tuple[Cell, ...]] = [_row(outcome.clip, [outcome], outcome.scores) for outcome in outcomes]
    rows.append(_row("all", outcomes, whole))
    return BenchTable(
        name="accuracy",
        title="accuracy: who did what, on rendered clips",
        protocol=(
            f"Rendered people, not filmed ones: {what}. Each clip goes through the graph file in this process, with "
            "a gallery enrolled afresh from stills. An event is right when its subject (or unknown) and its action "
            f"are right and it overlaps the truth with temporal IoU >= {TEMPORAL_IOU}, one to one; abstentions are "
            f"never right. 95 % interval: {_DRAWS} bootstrap draws of whole clips, seed {_SEED}. A swap is an event "
            "that names another enrolled person than its boxes show; strangers are events that name somebody who is "
            f"not enrolled; misplaced are names on boxes that overlap nobody by an IoU of {BOX_IOU}, or no one person "
            "most of the time."
        ),
        columns=(
            "clip",
            "true",
            "claimed",
            "right",
            "precision",
            "recall",
            "F1",
            "swaps",
            "strangers",
            "misplaced",
            "abstained",
        ),
        rows=tuple(rows),
        bars=(
            Bar(
                "events F1 (rendered)",
                f"{whole.f1:.3f} [{low:.3f}, {high:.3f}]",
                f">= {_LEAST_F1}",
                whole.f1 >= _LEAST_F1,
            ),
            Bar("events with another's name", whole.swapped, "0", whole.swapped == 0),
            Bar("events that name a stranger", whole.strangers_named, "0", whole.strangers_named == 0),
        ),
        remarks=tuple(line for outcome in outcomes for line in list_faults(outcome)) if verbose else (),
    )


def f1_interval(outcomes: Sequence[ClipOutcome]) -> tuple[float, float]:
    """95 % interval of the F1 over all clips."""
    scores = [outcome.scores for outcome in outcomes]

    def f1(rows: NDArray[np.int64]) -> float:
        return _sum([scores[row] for row in rows]).f1

    return bootstrap_interval(f1, np.array([outcome.clip for outcome in outcomes]), draws=_DRAWS, seed=_SEED)


def list_faults(outcome: ClipOutcome) -> list[str]:
    """Everything missed, wrong or undecided in a clip, in order of time, one line each."""
    pairs = match_events(outcome.truths, outcome.claims, minimum_iou=TEMPORAL_IOU)
    found, right = {truth for truth, _ in pairs}, {claim for _, claim in pairs}
    faults: list[tuple[str, Happening | Claim]] = [
        ("missed", truth) for index, truth in enumerate(outcome.truths) if index not in found
    ]
    faults += [("wrong", claim) for index, claim in enumerate(outcome.claims) if index not in right]
    faults += [("abstained", claim) for claim in outcome.abstained]
    faults.sort(key=lambda fault: fault[1].start_seconds)
    return [f"{outcome.clip} {kind:9} {_describe(what)}" for kind, what in faults]


def describe_models(analysis: Analysis) -> str:
    """Which weights spoke, by name, version and the beginning of their digest."""
    spoke = analysis.provenance
    models = (*spoke.tracks, *(spoke.identity or ()), *(spoke.action or ()))
    return ", ".join(f"{model.name}@{model.version} ({model.sha256[:8]})" for model in models)


def _describe(what: Happening | Claim) -> str:
    line = f"{what.subject_id or 'unknown'} {what.action} {what.start_seconds:.2f}-{what.end_seconds:.2f} s"
    if not isinstance(what, Claim):
        return line
    return f"{line} (shows {'no one person' if what.misplaced else what.shown_id or 'a stranger'})"


def _sum(scores: Sequence[EventScores]) -> EventScores:
    return EventScores(
        truths=sum(score.truths for score in scores),
        claims=sum(score.claims for score in scores),
        matched=sum(score.matched for score in scores),
        swapped=sum(score.swapped for score in scores),
        strangers_named=sum(score.strangers_named for score in scores),
        misplaced_named=sum(score.misplaced_named for score in scores),
    )


def _row(name: str, outcomes: Sequence[ClipOutcome], scores: EventScores) -> tuple[Cell, ...]:
    return (
        name,
        scores.truths,
        scores.claims,
        scores.matched,
        scores.precision,
        scores.recall,
        scores.f1,
        scores.swapped,
        scores.strangers_named,
        scores.misplaced_named,
        sum(len(outcome.abstained) for outcome in outcomes),
    )
