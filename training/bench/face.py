"""`python -m training.bench.face`: what face networks get right and cost, and which of their parts help.

    python -m training.bench.face --pairs lfw_pairs.csv --root DIR --model dlib-face-resnet --model CARD
    python -m training.bench.face ablation compatible --faces build/faces/lfw

Real faces are not in the repository: what needs them is left out without --pairs and --root, --cohort, or --faces, and
said to be. Runs of the ablation are kept in --work, so that a bench that was stopped goes on where it was; so is each
benchmark's table, and the page holds the latest of each.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from services.console import ProgressBars
from services.contracts.errors import BadUsage
from training.bench.face_ablation import Bench, measure_ablation, measure_compatible
from training.bench.face_models import measure_identification, measure_throughput, measure_verification
from training.bench.face_step import measure_step
from training.bench.kept import keep_tables, tell_when, write_page
from training.bench.machine import describe_machine
from training.bench.table import BenchTable, print_facts, print_table
from training.datasets.face_chips import load_chips
from training.stages.entry import run

NAMES = ("verification", "identification", "throughput", "step", "ablation", "compatible")
_PIPED_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and can be, and print it beside its bars."""
    options = _parser().parse_args(arguments)
    if unknown := set(options.benchmarks) - set(NAMES):
        raise BadUsage(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    facts = describe_machine()
    console = Console(quiet=options.json, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    print_facts(facts, console)
    tables = []
    for name in options.benchmarks or NAMES:
        table = _measure(name, options)
        if table is None:
            sys.stderr.write(f"{name} left out: it needs real faces: --pairs and --root, --cohort, or --faces\n")
            continue
        table = replace(table, remarks=(*table.remarks, tell_when(facts)))
        keep_tables(options.work / f"{name}.json", [table])
        tables.append(table)
        print_table(table, console)
    if options.json:
        document = {"machine": facts, "tables": [asdict(table) for table in tables]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    if options.markdown is not None:
        title, command = "Face benchmarks", "python -m training.bench.face"
        write_page(options.markdown, facts, NAMES, options.work, title=title, command=command)


def _measure(name: str, options: argparse.Namespace) -> BenchTable | None:
    models = options.model or ("champion",)
    match name:
        case "verification":
            known = options.pairs is not None and options.root is not None
            return measure_verification(models, options.pairs, options.root) if known else None
        case "identification":
            known = options.cohort is not None
            return measure_identification(models, options.cohort, galleries=options.galleries) if known else None
        case "throughput":
            return measure_throughput(models, runs=options.runs)
        case "step":
            return measure_step(runs=options.runs)
    if options.faces is None:
        return None
    bench = Bench.open(load_chips(options.faces), options.work, options.epochs)
    measure = measure_ablation if name == "ablation" else measure_compatible
    with ProgressBars(unit="runs") as bars:
        return measure(bench, seeds=options.seeds, on_progress=bars.advance_to)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.bench.face", description=__doc__.splitlines()[0])
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--model", action="append", help="name or card; the first is the reference (default: champion)")
    parser.add_argument("--pairs", type=Path, help="CSV: fold,path_a,path_b,same")
    parser.add_argument("--root", type=Path, help="folder the paths are relative to")
    parser.add_argument("--cohort", type=Path, help="a folder of pictures a person, to enrol and to search with")
    parser.add_argument(
        "--galleries", type=int, default=30, help="random ones of identification (default: %(default)s)"
    )
    parser.add_argument("--faces", type=Path, help="aligned faces to learn from and measure on, split by subject")
    parser.add_argument("--epochs", type=int, default=8, help="of every run of the ablation (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of every row of the ablation (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="of throughput and step (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("build/bench_face"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the latest tables as a page, too")
    return parser


if __name__ == "__main__":
    run(main)
