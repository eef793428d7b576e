"""`python -m training.bench`: what the product gets right, and what it costs, beside the bars it should reach."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from services.console import ProgressBars
from services.contracts.errors import BadUsage
from services.settings import read_settings
from training.bench.accuracy import measure_accuracy
from training.bench.archive import measure_archive
from training.bench.graph import measure_graph
from training.bench.load import measure_load
from training.bench.machine import describe_machine
from training.bench.memory import measure_memory
from training.bench.speed import measure_speed
from training.bench.table import BenchTable, print_facts, print_table, write_markdown
from training.bench.workplace import Workplace, open_workplace
from training.stages.entry import run

# Columns of a table that goes to a file, where no terminal says how wide it is.
_PIPED_WIDTH = 120
# Of each kind: the 95th percentile of fewer would be one search.
_SEARCHES = 300
_NAMES = ("accuracy", "speed", "graph", "load", "memory", "archive")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that are asked for, one after the other, and print their tables."""
    options = _parser().parse_args(arguments)
    if options.runs < 1 or options.minutes <= 0:
        raise BadUsage(f"--runs {options.runs} --minutes {options.minutes:g}: both must be above 0")
    names = _NAMES if options.benchmark == "all" else (options.benchmark,)
    facts = describe_machine()
    # Tables on stdout as they are ready; with --json there is one document at the end.
    console = Console(quiet=options.json, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    print_facts(facts, console)
    tables = []
    with open_workplace(read_settings(), options.enrol) as workplace:
        for name in names:
            tables.append(_measure(name, options, workplace))
            print_table(tables[-1], console)
    if options.json:
        document = {"machine": facts, "tables": [asdict(table) for table in tables]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(write_markdown(facts, tables))


def _measure(name: str, options: argparse.Namespace, workplace: Workplace) -> BenchTable:
    with ProgressBars(unit="done") as bars:
        match name:
            case "accuracy":
                return measure_accuracy(
                    workplace, options.heldout, verbose=options.verbose, on_progress=bars.advance_to
                )
            case "speed":
                return measure_speed(workplace, options.demo, options.runs, on_progress=bars.advance_to)
            case "graph":
                return measure_graph(workplace, options.demo, options.runs, on_progress=bars.advance_to)
            case "archive":
                return measure_archive(workplace.folder, options.events, _SEARCHES, on_progress=bars.advance_to)
            case "load":
                return measure_load(
                    workplace, options.demo, options.runs, options.requests, on_progress=bars.advance_to
                )
            case _:
                return measure_memory(workplace, options.demo, options.minutes, on_progress=bars.advance_to)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.bench",
        description="Measure accuracy, speed, memory and the graph's cost; nothing is left behind.",
        epilog="The exit code tells whether everything could be measured, not whether bars were reached.",
    )
    parser.add_argument("benchmark", nargs="?", choices=(*_NAMES, "all"), default="all")
    parser.add_argument("--runs", type=int, default=5, help="of speed, and pairs of graph (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=500, help="of load's long run (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="the long clip of memory; the bar is 30 (default: %(default)g)"
    )
    parser.add_argument(
        "--events",
        type=int,
        default=1_000_000,
        help="archived, for archive (default: %(default)s, as the bar)",
    )
    parser.add_argument("--verbose", action="store_true", help="list every event missed or wrong")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, for machines")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as a page, too")
    for name, folder in (("heldout", "data/scenes/heldout"), ("demo", "data/scenes/demo"), ("enrol", "data/enrol")):
        parser.add_argument(f"--{name}", type=Path, default=Path(folder), metavar="DIR", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    run(main)
