"""Graph: what HTTP between router and services costs a clip, and a hop."""

import contextlib
import io
import time
from collections.abc import Callable
from pathlib import Path

from services.analysis import run_here
from services.client import SendRequest, analyze_clip, post_to, refer_to_clip
from services.contracts.events import Analysis
from services.supervisor import Supervisor
from training.bench.hops import HopTimes, measure_hops
from training.bench.table import Bar, BenchTable, Cell, Spread
from training.bench.workplace import Workplace
from training.datasets.manifests import read_manifest

SPAN_SECONDS = 10.0
_MOST_RATIO = 1.1
_HOP_REQUESTS = 200


def measure_graph(
    workplace: Workplace, scenes: Path, runs: int, *, on_progress: Callable[[str, float, float], None]
) -> BenchTable:
    """Analyse ten seconds of the first clip of a set in this process and over HTTP, in pairs.

    Args:
        workplace: Who is enrolled.
        scenes: A folder with a manifest.
        runs: How many pairs.
        on_progress: Told "graph", pairs done and pairs in all.
    """
    clip = read_manifest(scenes)[1][0].path
    hops = measure_hops(_HOP_REQUESTS)
    here = run_here(workplace.settings)
    pairs: list[tuple[float, float]] = []
    answers: set[tuple[bytes, ...]] = set()
    settings = workplace.settings

    def measure(send: SendRequest) -> float:
        workplace.forget()
        started = time.perf_counter()
        analysis = analyze_clip(send, refer_to_clip(clip), to_seconds=SPAN_SECONDS)
        seconds = time.perf_counter() - started
        answers.add(_events(analysis))
        return seconds

    # The services log every step to stderr, which is this command's progress bar.
    with (
        contextlib.redirect_stderr(io.StringIO()),
        Supervisor(str(settings.graph), environment=workplace.environment()) as served,
    ):
        there = post_to(served.url)
        measure(here), measure(there)
        for done in range(runs):
            on_progress("graph", done, runs)
            if done % 2 == 0:
                first = measure(here)
                pairs.append((first, measure(there)))
            else:
                second = measure(there)
                pairs.append((measure(here), second))
    on_progress("graph", runs, runs)
    return tabulate(pairs, hops, clip.name, same_events=len(answers) == 1)


def tabulate(pairs: list[tuple[float, float]], hops: HopTimes, clip: str, *, same_events: bool) -> BenchTable:
    """Spread both ways, their ratio, and the hops.

    Args:
        pairs: Wall seconds in this process and over HTTP.
        hops: What a hop costs.
        clip: Which clip.
        same_events: Whether every run answered the same bytes.
    """
    here = Spread.of([pair[0] for pair in pairs])
    there = Spread.of([pair[1] for pair in pairs])
    ratios = Spread.of([pair[1] / pair[0] for pair in pairs])
    rows: list[tuple[Cell, ...]] = [
        ("in this process, s", here.minimum, here.median, here.maximum, "-", "-"),
        ("over HTTP on loopback, s", there.minimum, there.median, there.maximum, "-", "-"),
        ("ratio of each pair", ratios.minimum, ratios.median, ratios.maximum, "-", "-"),
    ]
    for name, milliseconds in hops.by_name():
        spread = Spread.of(milliseconds)
        p50, p99 = hops.percentiles(milliseconds)
        rows.append((f"{name}, ms", spread.minimum, spread.median, spread.maximum, p50, p99))
    ratio = there.median / here.median
    return BenchTable(
        name="graph",
        title="graph: HTTP against one process",
        protocol=(
            f"The first {SPAN_SECONDS:g} s of {clip}, clip to events, {len(pairs)} pairs in alternating order after "
            "one unmeasured run each way, evidence thrown away before each run. Over HTTP: four services and the "
            "graph, a process each. Hops: echo services that answer with the 4 KiB they are sent, "
            f"{hops.requests} requests one after the other, everything in one process."
        ),
        columns=("", "min", "median", "max", "p50", "p99"),
        rows=tuple(rows),
        bars=(
            Bar("median over HTTP by median in process", ratio, f"<= {_MOST_RATIO:g}", ratio <= _MOST_RATIO),
            Bar(
                "events over HTTP and in process",
                "the same bytes" if same_events else "differ",
                "the same bytes",
                same_events,
            ),
        ),
    )


def _events(analysis: Analysis) -> tuple[bytes, ...]:
    return tuple(event.to_json() for event in analysis.events)
