"""`python -m training.clips`: from a public set's folder to a manifest, and from manifests to a model.

    python -m training.clips import ut_interaction FOLDER --space interactions
    python -m training.clips check FOLDER/manifest.jsonl --space interactions
    python -m training.clips learn FOLDER/manifest.jsonl --space fights --unlabelled OTHER/manifest.jsonl \\
        --task behaviour --unnamed no_fight --name fights --out build/fights
    python -m training.clips check AVA/manifest.jsonl --space ava --network r3d_18      # actions that overlap
    python -m training.clips pretrain build/prepare --network r3d_18 --out build/clips/r3d_18.safetensors
    python -m training.clips learn FOLDER/manifest.jsonl --space interactions --task interaction --network r3d_18 \\
        --pretrained build/clips/r3d_18.safetensors --name interactions-r3d --out build/interactions-r3d
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from services.contracts.card import Lineage, WindowSpec
from services.contracts.errors import BadUsage
from training.clips.checks import validate
from training.clips.eight_bits import answer_in, export_eight_bits
from training.clips.fisher import FisherParams
from training.clips.follower import Follower
from training.clips.importers import IMPORTERS
from training.clips.labels import LabelSpace, join_overlaps, map_labels, read_label_space
from training.clips.learn import (
    PARITY_LIMIT,
    Measured,
    check_engines,
    describe_learned,
    learn_codebooks,
    learn_from_clips,
)
from training.clips.manifest import LabelledSpan, read_manifest, write_manifest
from training.clips.overlaps import LearnedOverlaps, calibrate_overlaps, make_logits_mean_chances
from training.clips.reader import CACHE, StripReader
from training.clips.video import (
    KEPT,
    Recipe,
    learn_network,
    leave_networks_out,
    make_recipe,
    pretrain,
    rate_left_out,
    read_clip_strips,
    train_network,
    window_for,
)
from training.clips.views import WINDOWS
from training.config import read_config
from training.datasets.windows import WindowSet
from training.export import export_pixels
from training.networks.video import VIDEO_KINDS, fold_statistics
from training.runs import find_origin
from training.stages.entry import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, and do what is asked for."""
    options = _parser().parse_args(arguments)
    match options.verb:
        case "import":
            spans = map_labels(IMPORTERS[options.set](options.folder), read_label_space(options.space))
            write_manifest(options.out or options.folder / "manifest.jsonl", spans)
            groups = len({span.group for span in spans})
            sys.stdout.write(f"{len(spans)} spans of {len({span.clip for span in spans})} clips in {groups} groups\n")
        case "check":
            spans = read_manifest(options.manifest)
            space = read_label_space(options.space)
            validate(
                spans,
                options.manifest.parent,
                actions=space.actions,
                window_seconds=_window(options).duration_seconds,
                exclusive=space.exclusive,
            )
            sys.stdout.write(f"{len(spans)} spans are sound\n")
        case "pretrain":
            _pretrain(options)
        case _:
            _learn(options)


def _learn(options: argparse.Namespace) -> None:
    spans, space = read_manifest(options.manifest), read_label_space(options.space)
    recipe = _recipe(options, space)
    window = _window(options)
    validate(
        spans,
        options.manifest.parent,
        actions=space.actions,
        window_seconds=window.duration_seconds,
        exclusive=space.exclusive,
    )
    with StripReader(CACHE / "strips", workers=options.workers) as reader:
        if recipe is None:
            made = _learn_motion(options, spans, space.actions, window, reader)
        elif space.exclusive:
            made = _learn_network(options, spans, space.actions, window, reader, recipe)
        else:
            made = _learn_overlaps(options, join_overlaps(spans), space.actions, window, reader, recipe)
        sys.stderr.write(f"clips: {reader.throughput}\n")
    data = ", ".join(sorted({f"{span.source} ({span.licence})" for span in spans}))
    card = describe_learned(
        made.learned,
        made.content,
        options.name,
        options.task,
        space.actions,
        window,
        Lineage(source="python -m training.clips learn", git_commit=find_origin().git_commit),
        description=f"{made.form}; learned from {data}.",
        unnamed=options.unnamed,
        licence=options.licence,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / card.weights.file).write_bytes(made.content)
    # Eight bits differ by what they are; what that costs is in the figures.
    limit = PARITY_LIMIT if options.precision == "fp32" else math.inf
    parity = check_engines(made.learned, card, options.out / card.weights.file, limit=limit)
    (options.out / "card.json").write_text(card.model_dump_json(indent=2) + "\n")
    facts = {**card.metrics, **made.facts, **{f"parity_{engine}": gap for engine, gap in parity.items()}}
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class _Made:
    """A network, its file, what it is in a few words, and figures beside those of its card."""

    learned: Measured
    content: bytes
    form: str
    facts: dict[str, object]


def _learn_motion(
    options: argparse.Namespace,
    spans: list[LabelledSpan],
    actions: tuple[str, ...],
    window: WindowSpec,
    reader: StripReader,
) -> _Made:
    params, follow = FisherParams(seed=options.seed), Follower(CACHE / "evidence")
    unlabelled = options.unlabelled or options.manifest
    codebooks = learn_codebooks(read_manifest(unlabelled), unlabelled.parent, window, reader, follow, params)
    sys.stderr.write(f"codebooks: {reader.throughput}\n")
    learned = learn_from_clips(spans, options.manifest.parent, actions, window, codebooks, reader, follow, params)
    content = export_pixels(learned.network, window)
    facts: dict[str, object] = {"confusion": learned.scores().confusion.tolist()}
    return _Made(learned, content, "Motion cuboids, Fisher vector and a linear layer", facts)


def _learn_network(
    options: argparse.Namespace,
    spans: list[LabelledSpan],
    actions: tuple[str, ...],
    window: WindowSpec,
    reader: StripReader,
    recipe: Recipe,
) -> _Made:
    follow = Follower(CACHE / "evidence")
    clips = read_clip_strips(spans, options.manifest.parent, actions, window, reader, follow)
    left_out = leave_networks_out(clips, recipe, folds=options.folds, kept=KEPT)
    network = learn_network(clips, recipe, left_out, kept=KEPT)
    if options.precision == "fp32":
        facts: dict[str, object] = {"confusion": left_out.scores().confusion.tolist()}
        return _Made(network, export_pixels(fold_statistics(network.network), window), recipe.name, facts)
    engine = answer_in(export_eight_bits, window, device="cpu")
    eight = leave_networks_out(clips, recipe, folds=options.folds, kept=KEPT, engine=engine)
    facts = {
        "left_out_accuracy_of_float32": left_out.scores().top1,
        "confusion": eight.scores().confusion.tolist(),
    }
    content = export_eight_bits(network.network, clips.strips, window)
    return _Made(replace(network, left_out=eight), content, f"{recipe.name}, in eight bits", facts)


def _learn_overlaps(
    options: argparse.Namespace,
    spans: list[LabelledSpan],
    actions: tuple[str, ...],
    window: WindowSpec,
    reader: StripReader,
    recipe: Recipe,
) -> _Made:
    follow = Follower(CACHE / "evidence")
    clips = read_clip_strips(spans, options.manifest.parent, actions, window, reader, follow, exclusive=False)
    logits_NK = rate_left_out(clips, recipe, folds=options.folds, kept=KEPT)
    left_out = calibrate_overlaps(logits_NK, clips.actions.astype(bool), clips.groups, spans, actions)
    network = train_network(clips, np.arange(len(spans)), recipe, kept=KEPT)
    learned = LearnedOverlaps(network=make_logits_mean_chances(network, left_out), left_out=left_out)
    scores = left_out.scores()
    facts: dict[str, object] = {
        "said": {
            action: {"precision": _or_none(precision), "recall": _or_none(recall)}
            for action, precision, recall in zip(actions, scores.precision, scores.recall, strict=True)
        }
    }
    return _Made(learned, export_pixels(fold_statistics(network), window), f"{recipe.name}; actions overlap", facts)


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _window(options: argparse.Namespace) -> WindowSpec:
    """What the network is shown."""
    viewed = WINDOWS[options.task]
    if options.network == "fisher":
        return viewed
    return window_for(make_recipe(read_config().learn_clips, options.network).params, viewed)


def _recipe(options: argparse.Namespace, space: LabelSpace) -> Recipe | None:
    """How a network is trained; None where nothing is trained but a linear layer."""
    if not space.exclusive and (options.network == "fisher" or options.precision != "fp32"):
        raise BadUsage(f"the actions of {space.name} overlap: --network {', '.join(VIDEO_KINDS)} learn such, in fp32")
    if options.network == "fisher":
        if options.precision != "fp32":
            raise BadUsage("fisher has next to no products to compute in eight bits: leave out --precision")
        return None
    params = read_config().learn_clips
    teacher = make_recipe(params, options.teacher, pretrained=options.teacher_pretrained) if options.teacher else None
    return make_recipe(params, options.network, pretrained=options.pretrained, teacher=teacher, epochs=options.epochs)


def _pretrain(options: argparse.Namespace) -> None:
    sides = [WindowSet.load(options.prepared / f"{side}.npz") for side in ("train", "validation")]
    named = [windows.select(windows.actions >= 0) for windows in sides]
    recipe = make_recipe(read_config().learn_clips, options.network, epochs=options.epochs)
    best = pretrain(named[0], named[1], recipe, each=options.each, out=options.out, kept=KEPT)
    sys.stdout.write(json.dumps(best.values(), indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.clips", description="Real clips to learn actions from.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    bring = verbs.add_parser("import", help="a public set's folder becomes a manifest")
    bring.add_argument("set", choices=sorted(IMPORTERS))
    bring.add_argument("folder", type=Path)
    bring.add_argument("--out", type=Path, help="default: manifest.jsonl in the folder")
    check = verbs.add_parser("check", help="refuse what would teach or measure something else than it says")
    learn = verbs.add_parser("learn", help="a model with its card, measured on groups it never met")
    for verb in (check, learn):
        verb.add_argument("manifest", type=Path)
        verb.add_argument("--task", choices=WINDOWS, default="behaviour", help="decides what is viewed")
        verb.add_argument(
            "--network", choices=("fisher", *VIDEO_KINDS), default="fisher", help="all but fisher are in params.yaml"
        )
    for verb in (bring, check, learn):
        verb.add_argument("--space", required=True, help="a shipped label space, or a .toml of yours")
    learn.add_argument(
        "--unlabelled", type=Path, help="manifest of clips for the codebooks; default: the clips themselves"
    )
    early = verbs.add_parser("pretrain", help="a network's weights from prepared windows, to begin `learn` with")
    early.add_argument("prepared", type=Path, help="folder with train.npz and validation.npz, as `prepare` leaves them")
    early.add_argument("--each", type=int, default=150, help="windows of each action (default: %(default)s)")
    early.add_argument("--network", choices=VIDEO_KINDS, required=True)
    for verb in (early, learn):
        verb.add_argument("--epochs", type=int, help="of a training; default: as in params.yaml")
        verb.add_argument("--out", type=Path, required=True)
    learn.add_argument("--folds", type=int, default=3, help="parts the groups are dealt into; a training each")
    learn.add_argument("--pretrained", type=Path, help="weights to begin with: of `pretrain`, or torchvision's own")
    learn.add_argument("--teacher", choices=VIDEO_KINDS, help="a network to imitate, trained on the same clips")
    learn.add_argument("--teacher-pretrained", type=Path, help="weights the teacher begins with")
    learn.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="int8: of trained networks")
    learn.add_argument("--unnamed", nargs="*", default=[], help="actions that make no segment, such as no_fight")
    learn.add_argument("--name", required=True)
    learn.add_argument("--licence", default="Apache-2.0")
    learn.add_argument("--workers", type=int, default=2)
    learn.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    run(main)
