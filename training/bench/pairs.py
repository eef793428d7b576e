"""`python -m training.bench.pairs`: whom pushes are said to be done to, by the rule that serves and by a learned head.

    python -m training.bench.pairs --markdown docs/benchmarks/pairs.md

Tracks are kept in --evidence, where `dvc repro prepare` keeps the same ones.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from services.action.recognize import ActionRecognizer, recognize_actions
from services.client import refer_to_clip
from services.console import ProgressBars
from services.contracts.tracks import TracksRequest
from services.models.engine import load_network
from services.models.store import ModelStore
from services.perception.evidence import open_evidence
from services.settings import read_settings
from services.tracks.find import Detectors, find_tracks
from training.bench.kept import tell_when
from training.bench.machine import describe_machine
from training.bench.table import BenchTable, Cell, print_facts, print_table, write_markdown
from training.config import read_config
from training.datasets.manifests import read_manifest
from training.datasets.pairs import MOMENTS, Encounter, find_encounters
from training.metrics.intervals import bootstrap_interval
from training.metrics.models import find_model
from training.networks.pair import PairHead, choice_loss
from training.stages.entry import run

Answer = tuple[str | None, float]
"""Whom, and how sure that is; None for nobody."""

_PIPED_WIDTH = 120
_FOLDS, _SEED, _DRAWS = 5, 0, 1000
_UNITS, _STEPS, _LEARNING_RATE, _WEIGHT_DECAY = 8, 200, 0.02, 0.02
_LEAST_PROBABILITY = 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every set of scenes, and print or write its table."""
    options = _parser().parse_args(arguments)
    facts = describe_machine()
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    print_facts(facts, console)
    settings = read_settings()
    model = find_model(options.model, "action")
    recognizer = ActionRecognizer(model.card, load_network(model.card, model.weights_path, device=settings.device))
    detectors = Detectors.load(ModelStore(settings.models), device=settings.device)
    learned = _meet_all(options.train, recognizer, detectors, options.evidence)
    tables = [tabulate(options.train.name, learned, answer_folds(learned), _say_model(recognizer))]
    head = learn(learned)
    for folder in options.scenes:
        met = _meet_all(folder, recognizer, detectors, options.evidence)
        tables.append(tabulate(folder.name, met, answer(head, met), _say_model(recognizer)))
    tables[0] = replace(tables[0], remarks=(*tables[0].remarks, tell_when(facts)))
    for table in tables:
        print_table(table, console)
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        page = write_markdown(facts, tables, title="Whom a push is done to", command="python -m training.bench.pairs")
        options.markdown.write_text(page)


def learn(encounters: Sequence[Encounter]) -> PairHead:
    """A head that chooses as the truth does, of real pushes; the same ones give the same head."""
    real = [each for each in encounters if each.real]
    features_EPTF, seen_EPT, right_EQ = stack(real)
    torch.manual_seed(_SEED)
    head = PairHead(features=features_EPTF.shape[-1], units=_UNITS)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    for _ in range(_STEPS):
        loss = choice_loss(head(features_EPTF, seen_EPT), right_EQ)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return head.eval()


def answer(head: PairHead, encounters: Sequence[Encounter]) -> list[Answer]:
    """Whom the head says, where it is at least as sure of somebody as not."""
    if not encounters:
        return []
    features_EPTF, seen_EPT, _ = stack(encounters)
    with torch.no_grad():
        probability_EQ = head(features_EPTF, seen_EPT).softmax(dim=1).numpy()
    answers: list[Answer] = []
    for each, probability_Q in zip(encounters, probability_EQ, strict=True):
        best = int(probability_Q.argmax())
        somebody = best < len(each.others) and probability_Q[best] >= _LEAST_PROBABILITY
        answers.append((each.others[best] if somebody else None, float(probability_Q[best])))
    return answers


def answer_folds(encounters: Sequence[Encounter]) -> list[Answer]:
    """Likewise, each clip by a head that learned from the clips of the other folds."""
    clips = sorted({each.clip for each in encounters})
    answers: list[Answer] = [(None, 0.0)] * len(encounters)
    for fold in range(_FOLDS):
        out = set(clips[fold::_FOLDS])
        rows = [row for row, each in enumerate(encounters) if each.clip in out]
        head = learn([each for each in encounters if each.clip not in out])
        for row, said in zip(rows, answer(head, [encounters[row] for row in rows]), strict=True):
            answers[row] = said
    return answers


def stack(encounters: Sequence[Encounter]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (E, P, T, F), seen (E, P, T) and right (E, P + 1), the last for nobody; P is the largest there is."""
    most = max(len(each.others) for each in encounters)
    values = encounters[0].features.shape[-1]
    features_EPTF = np.zeros((len(encounters), most, MOMENTS, values), np.float32)
    seen_EPT = np.zeros((len(encounters), most, MOMENTS), bool)
    right_EQ = np.zeros((len(encounters), most + 1), bool)
    for row, each in enumerate(encounters):
        people = len(each.others)
        features_EPTF[row, :people], seen_EPT[row, :people] = each.features, each.seen
        right_EQ[row, :people] = each.right
        right_EQ[row, -1] = not each.right.any()
    return torch.from_numpy(features_EPTF), torch.from_numpy(seen_EPT), torch.from_numpy(right_EQ)


def answer_nearest(encounter: Encounter) -> Answer:
    """The one who is nearest at the median moment, however far away."""
    apart_P = [
        float(np.median(np.linalg.norm(features[seen, :2], axis=1)))
        for features, seen in zip(encounter.features, encounter.seen, strict=True)
    ]
    return (encounter.others[int(np.argmin(apart_P))], 1.0) if apart_P else (None, 0.0)


def answer_served(encounter: Encounter) -> Answer:
    """What the service said."""
    toward = encounter.push.toward
    return (toward.track_id, toward.share) if toward else (None, 0.0)


def tabulate(name: str, encounters: Sequence[Encounter], by_head: Sequence[Answer], model: str) -> BenchTable:
    """One set of scenes: a row for each way to answer."""
    real = [row for row, each in enumerate(encounters) if each.real]
    ways = {
        "nearest, whoever it is": [answer_nearest(each) for each in encounters],
        "the rule that serves": [answer_served(each) for each in encounters],
        "learned head": list(by_head),
    }
    rows = [
        _count(way, [encounters[row] for row in real], [answers[row] for row in real]) for way, answers in ways.items()
    ]
    unreal = [row for row, each in enumerate(encounters) if not each.real]
    followed = sum(bool(encounters[row].right.any()) for row in real)
    return BenchTable(
        name=name,
        title=f"{name}: whom pushes are done to",
        protocol=(
            f"Rendered people, followed by the detectors and the tracker that serve; pushes as {model} serves them. "
            "Whom somebody pushes is the script's word, not the boxes'. Right: the track named shows that person for "
            "half of the push or more. Of those said: share of the answers that name somebody; of all: of the pushes. "
            f"95 % intervals redraw whole clips, {_DRAWS} times, seed {_SEED}. The head answers for clips it learned "
            f"from in {_FOLDS} folds, and says nobody below a probability of {_LEAST_PROBABILITY}; seed {_SEED}. The "
            "rule's reach, overlap and share were set on the training clips, which are no test of it."
        ),
        columns=("answered by", "pushes", "said", "right", "of those said", "95 %", "of all", "95 %"),
        rows=tuple(rows),
        bars=(),
        remarks=(
            f"{followed} of the {len(real)} people pushed are followed at the time: nobody can name the others",
            f"{len(unreal)} pushes are served where nobody pushes; "
            + ", ".join(
                f"{way} names somebody in {sum(bool(said[row][0]) for row in unreal)}" for way, said in ways.items()
            ),
        ),
    )


def _count(way: str, encounters: Sequence[Encounter], answers: Sequence[Answer]) -> tuple[Cell, ...]:
    said_E = np.array([whom is not None for whom, _ in answers], bool)
    right_E = np.array(
        [
            any(other == whom and right for other, right in zip(each.others, each.right, strict=True))
            for each, (whom, _) in zip(encounters, answers, strict=True)
        ],
        bool,
    )
    clips_E = np.array([each.clip for each in encounters])

    def share(of_E: Callable[[NDArray[np.int64]], int]) -> tuple[Cell, Cell]:
        def measure(rows: NDArray[np.int64]) -> float:
            return float(right_E[rows].sum() / max(of_E(rows), 1))

        low, high = bootstrap_interval(measure, clips_E, draws=_DRAWS, seed=_SEED)
        return measure(np.arange(len(clips_E))), f"{low:.3f} to {high:.3f}"

    of_said, of_all = share(lambda rows: int(said_E[rows].sum())), share(len)
    return (way, len(encounters), int(said_E.sum()), int(right_E.sum()), *of_said, *of_all)


def _meet_all(folder: Path, recognizer: ActionRecognizer, detectors: Detectors, evidence_root: Path) -> list[Encounter]:
    actions, clips = read_manifest(folder)
    met: list[Encounter] = []
    with ProgressBars(unit="clips") as bars:
        for done, clip in enumerate(clips, 1):
            response = find_tracks(TracksRequest(clip=refer_to_clip(clip.path)), detectors, str(evidence_root))
            segments = recognize_actions(response, recognizer).segments
            with open_evidence(response.evidence.uri, response.evidence.sha256) as evidence:
                tracks = evidence.tracks()
            minimum_iou = read_config().prepare.minimum_iou
            met += find_encounters(clip, tracks, segments, actions, minimum_iou=minimum_iou)
            bars.advance_to(folder.name, done, len(clips))
    return met


def _say_model(recognizer: ActionRecognizer) -> str:
    return f"{recognizer.card.name}@{recognizer.card.version}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.bench.pairs", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="champion", help="name or card (default: the champion of actions)")
    parser.add_argument("--train", type=Path, default=Path("data/scenes/train"), metavar="DIR", help="to learn from")
    parser.add_argument(
        "--scenes",
        type=Path,
        nargs="+",
        default=[Path("data/scenes/heldout")],
        metavar="DIR",
        help="never learned from",
    )
    parser.add_argument("--evidence", type=Path, default=Path("build/evidence"), help="default: %(default)s")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as a page, too")
    return parser


if __name__ == "__main__":
    run(main)
