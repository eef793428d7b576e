"""`python -m training.bench.action`: what action networks get right, how sure they are, and what they cost.

    python -m training.bench.action --markdown docs/benchmarks/action.md
    python -m training.bench.action rendered --model CARD
    python -m training.bench.action interactions taught --interactions UT/manifest.jsonl --pretrained build/clips/trunks
    python -m training.bench.action fights crossed --interactions UT/manifest.jsonl --fights CCTV/manifest.jsonl

Each part that was measured is kept in --work, so that parts can be measured one at a time, cost on a quiet machine; the
page holds the latest of each, and says at which commit and load it was measured.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from services.action.recognize import ActionRecognizer
from services.console import ProgressBars
from services.contracts.errors import BadUsage
from services.models.engine import load_network
from services.models.store import ModelStore
from services.settings import read_settings
from services.tracks.find import Detectors
from training.bench.action_clips import DEFAULT_KINDS, ClipSet, measure_clips
from training.bench.action_cost import measure_cost
from training.bench.action_scenes import measure_scenes
from training.bench.action_transfer import measure_crossed, measure_taught
from training.bench.kept import keep_tables, tell_when, write_page
from training.bench.machine import describe_machine
from training.bench.table import BenchTable, print_facts, print_table
from training.config import read_config
from training.metrics.models import find_model
from training.networks.video import VIDEO_KINDS
from training.stages.entry import run

# Real clips are not in the repository: their parts are measured where a manifest is given.
CLIP_SETS = ("interactions", "fights")
# Each needs the manifests of these sets.
TRANSFERS = {"taught": ("interactions",), "crossed": CLIP_SETS}
NAMES = ("rendered", "cost", *CLIP_SETS, *TRANSFERS)
_PIPED_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, print it beside its bars, and keep it for the page."""
    options = _parser().parse_args(arguments)
    if unknown := set(options.parts) - set(NAMES):
        raise BadUsage(f"no part {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    facts = describe_machine()
    console = Console(quiet=options.json, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    print_facts(facts, console)
    measured: list[BenchTable] = []
    for name in options.parts or [name for name in NAMES if all(getattr(options, one) for one in _needs(name))]:
        tables = _measure(name, options)
        tables[0] = replace(tables[0], remarks=(*tables[0].remarks, tell_when(facts)))
        keep_tables(options.work / f"{name}.json", tables)
        measured += tables
        for table in tables:
            print_table(table, console)
    if options.json:
        document = {"machine": facts, "tables": [asdict(table) for table in measured]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    if options.markdown is not None:
        title, command = "Action benchmarks", "python -m training.bench.action"
        write_page(options.markdown, facts, NAMES, options.work, title=title, command=command)


def _measure(name: str, options: argparse.Namespace) -> list[BenchTable]:
    settings, config = read_settings(), read_config()
    if needed := _needs(name):
        return _measure_clips(name, needed, options)
    model = find_model(options.model, "action")
    detectors = Detectors.load(ModelStore(settings.models), device=settings.device)
    evidence = options.work / "evidence"
    with ProgressBars(unit="done") as bars:
        if name == "rendered":
            recognizer = ActionRecognizer(
                model.card, load_network(model.card, model.weights_path, device=settings.device)
            )
            return measure_scenes(
                recognizer, detectors, options.heldout, config.prepare, evidence, on_progress=bars.advance_to
            )
        return measure_cost(
            model,
            detectors,
            config,
            heldout=options.heldout,
            train=options.train,
            evidence_root=evidence,
            runs=options.runs,
            rounds=options.rounds,
            on_progress=bars.advance_to,
        )


def _needs(name: str) -> Sequence[str]:
    """Sets of real clips a part is measured on."""
    return TRANSFERS.get(name, (name,) if name in CLIP_SETS else ())


def _measure_clips(name: str, needed: Sequence[str], options: argparse.Namespace) -> list[BenchTable]:
    for one in needed:
        if getattr(options, one) is None:
            raise BadUsage(f"part {name} needs --{one} MANIFEST, as `python -m training.clips import` makes it")
    params, epochs = read_config().learn_clips, dict(options.epochs)
    sets = {one: ClipSet(one, getattr(options, one), epochs) for one in needed}
    with ProgressBars(unit="done") as bars:
        if name == "crossed":
            return measure_crossed(
                sets, params, options.networks, pretrained=options.pretrained, on_progress=bars.advance_to
            )
        if name == "taught":
            return measure_taught(
                sets["interactions"],
                params,
                pretrained=options.pretrained,
                folds=options.folds,
                seeds=options.seeds,
                on_progress=bars.advance_to,
            )
        return measure_clips(
            sets[name],
            params,
            options.networks,
            pretrained=options.pretrained,
            pretrained_only=options.pretrained_only,
            folds=options.folds,
            rounds=options.rounds,
            on_progress=bars.advance_to,
        )


def _epochs(text: str) -> tuple[str, int]:
    """NETWORK=N."""
    kind, _, number = text.partition("=")
    if kind not in VIDEO_KINDS or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NETWORK=N with one of {', '.join(VIDEO_KINDS)}")
    return kind, int(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.bench.action", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--model", default="champion", help="name or card (default: the champion of actions)")
    for name, folder in (("heldout", "data/scenes/heldout"), ("train", "data/scenes/train")):
        parser.add_argument(f"--{name}", type=Path, default=Path(folder), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=5, help="of cost's throughput (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=40, help="of engines; 0: no eight bits of clips (default: 40)")
    for name in CLIP_SETS:
        parser.add_argument(f"--{name}", type=Path, metavar="MANIFEST", help=f"labelled clips of space {name}")
    parser.add_argument("--networks", nargs="+", choices=VIDEO_KINDS, default=DEFAULT_KINDS, help="for labelled clips")
    parser.add_argument("--pretrained", type=Path, metavar="DIR", help="with NETWORK.safetensors of `clips pretrain`")
    parser.add_argument(
        "--pretrained-only", nargs="+", choices=VIDEO_KINDS, default=(), help="too dear to be trained from scratch, too"
    )
    parser.add_argument(
        "--folds", type=int, default=3, help="the groups of clips are dealt into (default: %(default)s)"
    )
    parser.add_argument(
        "--epochs",
        type=_epochs,
        nargs="+",
        default=(),
        metavar="NETWORK=N",
        help="of trainings on clips (default: as in params.yaml)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=(7,), help="of taught's trainings (default: 7)")
    parser.add_argument("--work", type=Path, default=Path("build/bench_action"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the latest of every part as a page, too")
    return parser


if __name__ == "__main__":
    run(main)
