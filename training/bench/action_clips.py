"""What networks make of real clips of people on groups they never met, and what eight bits take from one of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from services.contracts.card import Task, WindowSpec
from training.bench.engine_times import ENGINES, Progress, Work, time_in_turns
from training.bench.table import Bar, BenchTable, Cell
from training.clips.eight_bits import answer_in, export_eight_bits, export_float, load_answer
from training.clips.floors import describe_files, rate_left_out
from training.clips.follower import Follower
from training.clips.labels import LabelSpace, map_labels, read_label_space
from training.clips.manifest import LabelledSpan, read_manifest
from training.clips.reader import CACHE, StripReader
from training.clips.video import (
    KEPT,
    ClipStrips,
    Recipe,
    leave_networks_out,
    make_recipe,
    read_clip_strips,
    window_for,
)
from training.clips.views import WINDOWS
from training.config import LearnClipsParams
from training.lessons.video import StripSet
from training.metrics.answers import AnswerScores, score_answers
from training.networks.video import RESIDUAL_KINDS, VideoKind

TASK: Task = "interaction"
DEFAULT_KINDS: tuple[VideoKind, ...] = ("cnn_lstm", "r3d_18")
_LEAST_TOP1 = {"interactions": 0.80, "fights": 0.80}
_LEAST_AUC = {"fights": 0.87}
_MOST_LOST_POINTS = 1.0
# The engine that serves; see services.models.engine.
_SERVING = "cpu"
COLUMNS = ("network", "top-1", "95 %", "mean class", "F1", "AUC", "95 % of AUC", "ECE", "surest 90 %")


@dataclass(frozen=True, slots=True)
class ClipSet:
    """Labelled clips, and what their actions are called.

    Attributes:
        name: A shipped label space: interactions or fights.
        manifest: Made by `python -m training.clips import`.
        epochs: Of trainings, by network; the others' are as in params.yaml.
    """

    name: str
    manifest: Path
    epochs: Mapping[VideoKind, int] = field(default_factory=dict)

    def read(self) -> tuple[list[LabelledSpan], LabelSpace]:
        """Its rows and its space."""
        return read_manifest(self.manifest), read_label_space(self.name)


def measure_clips(
    given: ClipSet,
    params: LearnClipsParams,
    kinds: Sequence[VideoKind] = DEFAULT_KINDS,
    *,
    pretrained: Path | None,
    pretrained_only: Collection[VideoKind] = (),
    folds: int,
    rounds: int,
    on_progress: Progress,
) -> list[BenchTable]:
    """Tables of one set: every network from scratch and pre-trained, and eight bits of the last 3D one, if wanted.

    Args:
        given: What is measured on.
        params: Recipes.
        kinds: Of networks.
        pretrained: Folder with a KIND.safetensors of each network that is also to begin with given weights.
        pretrained_only: Networks that are too dear to be trained from scratch as well.
        folds: Parts the groups are dealt into.
        rounds: Of engines; 0 leaves out eight bits.
        on_progress: Told what is measured, how much is done and how much there is.
    """
    spans, space = given.read()
    recipes = [
        recipe
        for kind in kinds
        for recipe in list_recipes(params, kind, pretrained, given.epochs.get(kind))
        if recipe.pretrained or kind not in pretrained_only
    ]
    sets = [read_clips(given, recipe) for recipe in recipes]
    floor = rate_left_out(
        describe_files(spans, given.manifest.parent), sets[0].single_actions, sets[0].groups, seed=params.residual.seed
    )
    scored = {
        "the files' size, rate, length and bitrate alone": score_answers(floor, sets[0].single_actions, sets[0].groups)
    }
    for number, (recipe, clips) in enumerate(zip(recipes, sets, strict=True)):
        on_progress(given.name, number, len(recipes))
        scored[recipe.name] = leave_networks_out(clips, recipe, folds=folds, kept=KEPT).scores()
    on_progress(given.name, len(recipes), len(recipes))
    tables = [tabulate_clips(given, recipes, scored, folds, len(space.actions), len(np.unique(sets[0].groups)))]
    residual = [(recipe, clips) for recipe, clips in zip(recipes, sets, strict=True) if recipe.kind in RESIDUAL_KINDS]
    if residual and rounds:
        recipe, clips = residual[-1]
        tables.append(measure_eight_bits(given.name, clips, recipe, folds, rounds, on_progress=on_progress))
    return tables


def list_recipes(
    params: LearnClipsParams, kind: VideoKind, pretrained: Path | None, epochs: int | None
) -> list[Recipe]:
    """From scratch, and with the folder's weights where there are some."""
    begun = [None] if pretrained is None else [None, pretrained / f"{kind}.safetensors"]
    found = [path for path in begun if path is None or path.is_file()]
    return [make_recipe(params, kind, pretrained=path, epochs=epochs) for path in found]


def read_clips(given: ClipSet, recipe: Recipe, space_name: str | None = None) -> ClipStrips:
    """The clips as a recipe's network is shown them; their actions as another label space calls them, if named."""
    spans, space = given.read()
    if space_name is not None:
        space = read_label_space(space_name)
        spans = map_labels(spans, space)
    window = window_for(recipe.params, WINDOWS[TASK])
    with StripReader(CACHE / "strips") as reader:
        return read_clip_strips(
            spans, given.manifest.parent, space.actions, window, reader, Follower(CACHE / "evidence")
        )


def tell_trainings(recipes: Sequence[Recipe]) -> str:
    """How long each kind of network was trained, and by which seed."""
    return "; ".join(
        sorted({f"{recipe.kind}: {recipe.params.epochs} epochs, seed {recipe.params.seed}" for recipe in recipes})
    )


def tabulate_clips(
    given: ClipSet, recipes: Sequence[Recipe], scored: dict[str, AnswerScores], folds: int, actions: int, groups: int
) -> BenchTable:
    """A row for each network, and the bars of the best of them."""
    best_name, best = max(list(scored.items())[1:], key=lambda item: item[1].top1)
    window = recipes[0].params.window
    bars = [_bar(f"{given.name}: top-1 of {best_name}", best.top1, _LEAST_TOP1[given.name])]
    if given.name in _LEAST_AUC:
        bars.append(_bar(f"{given.name}: ROC AUC of {best_name}", best.auc, _LEAST_AUC[given.name]))
    return BenchTable(
        name=given.name,
        title=f"{given.name}: {int(best.confusion.sum())} real clips, {groups} groups, {actions} actions",
        protocol=(
            f"Groups are dealt into {folds} parts, not left out one by one: every network is trained {folds} times and "
            "rates the clips of the groups it never met. One training each, the last epoch is kept, nothing was tuned "
            f"on the answers. {tell_trainings(recipes)}. The files' row is a random forest, one group left out at a "
            f"time. Networks see {window.frames} pictures at {window.rate_hz:g} Hz, {window.size_px} px, of squares "
            "that cover the picture; a clip's answer is the mean over squares and windows, calibrated on all other "
            "groups. Pre-trained: on windows of rendered people. 95 % intervals redraw groups, 1000 times. ECE: 15 "
            "bins."
        ),
        columns=COLUMNS,
        rows=tuple(to_row(name, scores) for name, scores in scored.items()),
        bars=tuple(bars),
        remarks=tuple(
            f"confusion of {name}, truth in rows: {scores.confusion.tolist()}" for name, scores in scored.items()
        ),
    )


def measure_eight_bits(
    name: str, clips: ClipStrips, recipe: Recipe, folds: int, rounds: int, *, on_progress: Progress
) -> BenchTable:
    """Accuracy on groups left out, and time of a window on both engines, in float32 and in eight bits."""
    forms = {"float32": export_float, "int8": export_eight_bits}
    contents: dict[str, bytes] = {}
    scored: dict[str, AnswerScores] = {}
    for number, form in enumerate(forms):
        on_progress(f"{name}, eight bits", number, len(forms))

        def export(network: nn.Module, strips: StripSet, window: WindowSpec, form: str = form) -> bytes:
            # The last part's file is the one that is timed.
            contents[form] = forms[form](network, strips, window)
            return contents[form]

        engine = answer_in(export, clips.window, device=_SERVING)
        scored[form] = leave_networks_out(clips, recipe, folds=folds, kept=KEPT, engine=engine).scores()
    side = clips.window.size_px
    noise = np.random.default_rng(0).integers(0, 256, (1, clips.window.frames, side, side, 3)).astype(np.uint8)
    calls = {
        Work("window", form, device): partial(
            load_answer(contents[form], clips.window, device=device, threads=0), noise
        )
        for form in forms
        for device in ENGINES
    }
    timings = time_in_turns(calls, rounds, on_progress=on_progress)
    rows: list[tuple[Cell, ...]] = []
    for form, scores in scored.items():
        times_ms = {
            device: 1000 * np.array([timing.wall_seconds for timing in timings[Work("window", form, device)]])
            for device in ENGINES
        }
        interval = f"{scores.top1_low:.3f}-{scores.top1_high:.3f}"
        medians = [float(np.median(times_ms[device])) for device in ENGINES]
        rows.append((form, scores.top1, interval, scores.auc, *medians, len(contents[form]) / 1e6))
    lost = 100 * (scored["float32"].top1 - scored["int8"].top1)
    return BenchTable(
        name=f"{name}_eight_bits",
        title=f"{name}: {recipe.name}, in eight bits",
        protocol=(
            "Every network of that row is exported anew in eight bits (static, QDQ, ranges of 64 windows it learned "
            f"from, weights by channel) and rates the same left-out clips on {ENGINES[_SERVING]}. Batch normalisation "
            "is folded into convolutions first. Time: one window of noise, all cores, median of "
            f"{rounds} rounds of all in turn."
        ),
        columns=("form", "top-1", "95 %", "AUC", *(f"{engine}, ms a window" for engine in ENGINES.values()), "MB"),
        rows=tuple(rows),
        bars=(
            Bar(
                f"{name}: points of top-1 that eight bits lose",
                lost,
                f"<= {_MOST_LOST_POINTS:g}",
                lost <= _MOST_LOST_POINTS,
            ),
        ),
    )


def to_row(name: str, scores: AnswerScores) -> tuple[Cell, ...]:
    """Under `COLUMNS`."""
    return (
        name,
        scores.top1,
        f"{scores.top1_low:.3f}-{scores.top1_high:.3f}",
        scores.mean_class,
        scores.macro_f1,
        scores.auc,
        f"{scores.auc_low:.3f}-{scores.auc_high:.3f}",
        scores.calibration_error,
        scores.top1_of_surest,
    )


def _bar(name: str, value: float, least: float) -> Bar:
    return Bar(name, value, f">= {least:g}", value >= least)
