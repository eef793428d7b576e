"""Load: clips side by side, memory over many requests, and a service killed in the middle of it."""

import contextlib
import io
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from services.client import SendRequest, post_to, refer_to_clip
from services.contracts.events import Analysis
from services.contracts.tracks import TracksRequest
from services.patience import send_patiently
from services.supervisor import Supervisor
from training.bench.table import Bar, BenchTable, Cell, Spread
from training.bench.workplace import Workplace
from training.datasets.manifests import read_manifest

SIDE_BY_SIDE = 8
SPAN_SECONDS = 2.0
_LEAST_GAIN = 1.5
_MOST_GROWTH = 1.1
_WARM_SHARE = 5  # memory is compared with that after a fifth of the requests, when every buffer has been used
_KILLED = ("tracks", "identity", "action", "events")


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What was measured.

    Attributes:
        alone_seconds: Eight clips one after the other, by run.
        together_seconds: The same eight at once, by run.
        statuses: Of every answer of the long run.
        early_mib: Resident memory of all processes after a fifth of the long run.
        late_mib: And at its end.
        recovered_seconds: By killed service: from kill -9 until all eight clips were answered.
        same_events: Whether every clip's events were the same before and after.
    """

    alone_seconds: Sequence[float]
    together_seconds: Sequence[float]
    statuses: Counter[int]
    early_mib: float
    late_mib: float
    recovered_seconds: dict[str, float]
    same_events: bool


def measure_load(
    workplace: Workplace,
    scenes: Path,
    runs: int,
    requests: int,
    *,
    on_progress: Callable[[str, float, float], None],
) -> BenchTable:
    """Serve the graph on loopback and load it.

    Args:
        workplace: Who is enrolled.
        scenes: A folder with a manifest.
        runs: Of eight clips, both ways.
        requests: Of the long run.
        on_progress: Told "load", steps done and steps in all.
    """
    clip = read_manifest(scenes)[1][0].path
    bodies = [
        TracksRequest(clip=refer_to_clip(clip), from_seconds=float(start), to_seconds=start + SPAN_SECONDS).to_json()
        for start in range(SIDE_BY_SIDE)
    ]
    steps = runs + 1 + len(_KILLED)
    environment = {**workplace.environment(), "WHODID_CLIPS": str(clip.parent.resolve())}
    with (
        contextlib.redirect_stderr(io.StringIO()),
        Supervisor(str(workplace.settings.graph), environment=environment) as served,
    ):
        send = post_to(served.url)
        answers = [send(body)[1] for body in bodies]
        alone, together = [], []
        for run in range(runs):
            on_progress("load", run, steps)
            workplace.forget()
            alone.append(_seconds(lambda: [send(body) for body in bodies]))
            workplace.forget()
            together.append(_seconds(lambda: _send_all(send, bodies)))
        on_progress("load", runs, steps)
        statuses: Counter[int] = Counter()
        early_mib = 0.0
        for _ in range(_WARM_SHARE):
            share = [bodies[index % SIDE_BY_SIDE] for index in range(requests // _WARM_SHARE)]
            statuses.update(status for status, _ in _send_all(send, share))
            early_mib = early_mib or _resident_mib(served)
        late_mib = _resident_mib(served)
        recovered, same = {}, True
        for step, name in enumerate(_KILLED, start=runs + 1):
            on_progress("load", step, steps)
            workplace.forget()
            seconds, after = _kill_in_the_middle(served, name, send_patiently(send), bodies)
            recovered[name] = seconds
            same = same and [_events(reply) for reply in after] == [_events(reply) for reply in answers]
    on_progress("load", steps, steps)
    return tabulate(LoadFigures(alone, together, statuses, early_mib, late_mib, recovered, same), clip.name)


def tabulate(figures: LoadFigures, clip: str) -> BenchTable:
    """Throughput, memory and recovery.

    Args:
        figures: Measured.
        clip: Which clip.
    """
    pairs = zip(figures.alone_seconds, figures.together_seconds, strict=True)
    gain = Spread.of([alone / together for alone, together in pairs])
    growth = figures.late_mib / figures.early_mib
    wrong = {status: count for status, count in figures.statuses.items() if status not in (200, 429, 503)}
    rows: list[tuple[Cell, ...]] = [
        ("eight clips one by one, s", *_cells(Spread.of(figures.alone_seconds))),
        ("eight clips at once, s", *_cells(Spread.of(figures.together_seconds))),
        ("gain", *_cells(gain)),
    ]
    remarks = [f"{name} killed: all eight answered after {s:.1f} s" for name, s in figures.recovered_seconds.items()]
    remarks.append(f"statuses of the long run: {dict(figures.statuses)}")
    return BenchTable(
        name="load",
        title="load: clips side by side, over HTTP on loopback",
        protocol=(
            f"{clip}, {SIDE_BY_SIDE} spans of {SPAN_SECONDS:g} s, evidence thrown away before each run. Then "
            f"{sum(figures.statuses.values())} requests, {SIDE_BY_SIDE} at once, on evidence that is there; memory is "
            "that of the four services and the graph. Then each service is killed (-9) under eight requests whose "
            "client tries again."
        ),
        columns=("what", "minimum", "median", "maximum", "runs"),
        rows=tuple(rows),
        bars=(
            Bar("throughput gain at eight", gain.median, f">= {_LEAST_GAIN:g}", gain.median >= _LEAST_GAIN),
            Bar("answers but 200, 429, 503", sum(wrong.values()), "0", not wrong),
            Bar("memory at the end by early memory", growth, f"flat: <= {_MOST_GROWTH:g}", growth <= _MOST_GROWTH),
            Bar("same events after kill -9", "yes" if figures.same_events else "no", "yes", figures.same_events),
        ),
        remarks=tuple(remarks),
    )


def _cells(spread: Spread) -> tuple[Cell, ...]:
    return spread.minimum, spread.median, spread.maximum, spread.runs


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _send_all(send: SendRequest, bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(send, bodies))


def _kill_in_the_middle(
    served: Supervisor, name: str, send: SendRequest, bodies: Sequence[bytes]
) -> tuple[float, list[bytes]]:
    """Seconds from the kill to the last answer, and the answers."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        replies = [pool.submit(send, body) for body in bodies]
        replies[0].result()
        started = time.perf_counter()
        os.kill(served.pids()[name], signal.SIGKILL)
        answers = [reply.result()[1] for reply in replies]
        return time.perf_counter() - started, answers


def _events(reply: bytes) -> tuple[str, ...]:
    return tuple(event.event_id for event in Analysis.model_validate_json(reply).events)


def _resident_mib(served: Supervisor) -> float:
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in served.pids().values()]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
