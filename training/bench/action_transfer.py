"""What a small network gains from a teacher, and what networks make of clips of a set they never met any of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.bench.action_clips import COLUMNS, ClipSet, list_recipes, read_clips, tell_trainings, to_row
from training.bench.engine_times import Progress
from training.bench.table import BenchTable, Cell
from training.clips.floors import describe_files, rate_others
from training.clips.labels import map_labels, read_label_space
from training.clips.manifest import read_manifest
from training.clips.video import KEPT, ask, leave_networks_out, rate_clips, train_network
from training.config import LearnClipsParams
from training.metrics.answers import AnswerScores, score_answers
from training.metrics.intervals import bootstrap_interval
from training.metrics.recognition import softmax
from training.networks.video import VideoKind

PUPIL: VideoKind = "cnn_lstm"
TEACHER: VideoKind = "r3d_18"
# What both sets can be asked for; the file says what each set's actions are called in it.
_SHARED_SPACE = "fights"
_CROSSED_COLUMNS = ("learned from", "rated", "network", *COLUMNS[1:7])


def measure_taught(
    given: ClipSet,
    params: LearnClipsParams,
    *,
    pretrained: Path | None,
    folds: int,
    seeds: Sequence[int],
    on_progress: Progress,
) -> list[BenchTable]:
    """A small network alone and taught by a 3D one, by the same recipe on the same parts, for several seeds.

    Args:
        given: What is measured on.
        params: Recipes; the teacher's seed, and who is dealt into which part, stay as they are there.
        pretrained: Folder with a KIND.safetensors of each network that begins with given weights.
        folds: Parts the groups are dealt into.
        seeds: Of the small network's trainings.
        on_progress: Told what is measured, how much is done and how much there is.
    """
    pupil, teacher = (list_recipes(params, kind, pretrained, given.epochs.get(kind))[-1] for kind in (PUPIL, TEACHER))
    clips = read_clips(given, pupil)
    rows: list[tuple[Cell, ...]] = []
    right: dict[bool, list[NDArray[np.bool_]]] = {False: [], True: []}
    for number, seed in enumerate(seeds):
        on_progress("taught", number, len(seeds))
        alone = replace(pupil, params=pupil.params.model_copy(update={"seed": seed}))
        for recipe in (alone, replace(alone, teacher=teacher)):
            left_out = leave_networks_out(clips, recipe, folds=folds, kept=KEPT, dealing=params.recurrent.seed)
            rows.append(to_row(f"{recipe.name}, seed {seed}", left_out.scores()))
            right[recipe.teacher is not None].append(left_out.probabilities.argmax(axis=1) == left_out.actions)
    on_progress("taught", len(seeds), len(seeds))
    gain_N = np.mean(right[True], axis=0) - np.mean(right[False], axis=0)
    low, high = bootstrap_interval(lambda drawn: float(gain_N[drawn].mean()), clips.groups)
    return [
        BenchTable(
            name="taught",
            title=f"{given.name}: {PUPIL} taught by {TEACHER}, and alone",
            protocol=(
                f"The same clips, parts and windows as {given.name} above; {tell_trainings([pupil, teacher])}. A pupil "
                f"differs from its equal alone in nothing but that {pupil.params.imitation:g} of its loss asks for the "
                f"answers of the teacher of its part (temperature {pupil.params.imitation_temperature:g}), which met "
                "the same clips and no other; the teacher's own row is there, too. 95 % intervals redraw groups, 1000 "
                "times. ECE: 15 bins."
            ),
            columns=COLUMNS,
            rows=tuple(rows),
            bars=(),
            remarks=(
                f"taught minus alone, top-1, mean of {len(seeds)} seed(s): {100 * gain_N.mean():+.1f} points, 95 % "
                f"{100 * low:+.1f} to {100 * high:+.1f}",
            ),
        )
    ]


@dataclass(frozen=True, slots=True)
class _Direction:
    learned: ClipSet
    rated: ClipSet


def measure_crossed(
    sets: Mapping[str, ClipSet],
    params: LearnClipsParams,
    kinds: Sequence[VideoKind],
    *,
    pretrained: Path | None,
    on_progress: Progress,
) -> list[BenchTable]:
    """Networks that learned from all clips of one set rate all clips of another.

    Args:
        sets: By name; each is learned from, and rated by what learned from the others.
        params: Recipes.
        kinds: Of networks.
        pretrained: Folder with a KIND.safetensors of each network that begins with given weights.
        on_progress: Told what is measured, how much is done and how much there is.
    """
    space = read_label_space(_SHARED_SPACE)
    directions = [_Direction(one, other) for one in sets.values() for other in sets.values() if one is not other]
    rows: list[tuple[Cell, ...]] = []
    trainings: set[str] = set()
    for number, way in enumerate(directions):
        rows.append(_cross(way, "the files' size, rate, length and bitrate alone", _cross_files(way)))
        for place, kind in enumerate(kinds):
            on_progress("crossed", number * len(kinds) + place, len(directions) * len(kinds))
            recipe = list_recipes(params, kind, pretrained, way.learned.epochs.get(kind))[-1]
            trainings.add(f"on {way.learned.name} {tell_trainings([recipe])}")
            met, unmet = (read_clips(given, recipe, _SHARED_SPACE) for given in (way.learned, way.rated))
            network = train_network(met, np.arange(len(met.actions)), recipe, kept=KEPT)
            probabilities_NK = softmax(rate_clips(ask(network), unmet))
            rows.append(_cross(way, recipe.name, score_answers(probabilities_NK, unmet.single_actions, unmet.groups)))
    on_progress("crossed", len(directions) * len(kinds), len(directions) * len(kinds))
    mapped = "; ".join(
        f"{source}: {', '.join(f'{theirs} is {ours}' for theirs, ours in space.names[source].items())}"
        for source in sorted({span.source for given in sets.values() for span in read_manifest(given.manifest)})
    )
    return [
        BenchTable(
            name="crossed",
            title=f"crossed: {' or '.join(space.actions)} in a set of which nothing was met",
            protocol=(
                "A network learns from all clips of one set and rates all clips of the other; nothing of the other "
                "set, neither clips nor answers, chose anything, and probabilities are not calibrated for it. Names "
                f"are mapped by training/clips/labels/{_SHARED_SPACE}.toml: {mapped}. Learned "
                f"{'; '.join(sorted(trainings))}. One training each. The files' row is a random forest. 95 % "
                "intervals redraw groups of the rated set, 1000 times."
            ),
            columns=_CROSSED_COLUMNS,
            rows=tuple(rows),
            bars=(),
        )
    ]


def _cross(way: _Direction, name: str, scores: AnswerScores) -> tuple[Cell, ...]:
    return (way.learned.name, way.rated.name, name, *to_row(name, scores)[1:7])


def _cross_files(way: _Direction) -> AnswerScores:
    """What size, rate, length and bitrate give away across sets."""
    space = read_label_space(_SHARED_SPACE)
    met, unmet = (map_labels(read_manifest(given.manifest), space) for given in (way.learned, way.rated))
    met_N, unmet_N = (np.array([space.actions.index(span.actions[0]) for span in spans]) for spans in (met, unmet))
    probabilities_NK = rate_others(
        describe_files(met, way.learned.manifest.parent),
        met_N,
        describe_files(unmet, way.rated.manifest.parent),
        seed=0,
    )
    return score_answers(probabilities_NK, unmet_N, np.array([span.group for span in unmet]))
