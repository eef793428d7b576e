"""Load: clips side by side, memory over many requests, and each service killed in the middle of it."""

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

import numpy as np

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
# The largest process may grow by this much in a hundred requests and be called flat: less than a picture each.
_MOST_MIB_PER_100 = 2.0
_SHARES = 10  # memory is read after each; the first fifth, in which buffers and caches fill, is left out
_FILLING = 2
_KILLED = ("tracks", "identity", "action", "events")


@dataclass(frozen=True, slots=True)
class Pace:
    """Eight clips, one after the other and at once, run by run.

    Attributes:
        alone_seconds: One by one.
        together_seconds: At once.
        alone_processor_seconds: Of all processes, one by one.
        together_processor_seconds: At once.
    """

    alone_seconds: Sequence[float]
    together_seconds: Sequence[float]
    alone_processor_seconds: Sequence[float]
    together_processor_seconds: Sequence[float]

    def gain(self) -> Spread:
        """How many times faster at once."""
        return Spread.of([a / b for a, b in zip(self.alone_seconds, self.together_seconds, strict=True)])

    def busy(self) -> tuple[Spread, Spread]:
        """Cores kept busy, one by one and at once."""
        alone = zip(self.alone_processor_seconds, self.alone_seconds, strict=True)
        together = zip(self.together_processor_seconds, self.together_seconds, strict=True)
        return Spread.of([work / wall for work, wall in alone]), Spread.of([work / wall for work, wall in together])


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What was measured.

    Attributes:
        cold: With evidence thrown away: every clip is decoded.
        warm: With evidence there.
        statuses: Of every answer of the long run.
        resident_mib: By process, after each tenth of the long run.
        recovered_seconds: By killed service: from kill -9 until all eight clips were answered.
        same_events: Whether a clip's events were the same in every run, before and after.
    """

    cold: Pace
    warm: Pace
    statuses: Counter[int]
    resident_mib: dict[str, Sequence[float]]
    recovered_seconds: dict[str, float]
    same_events: bool


class _Served:
    """The graph, loaded by one client.

    Args:
        supervisor: Runs the processes.
        workplace: Where evidence lies.
        bodies: The eight requests.
    """

    def __init__(self, supervisor: Supervisor, workplace: Workplace, bodies: Sequence[bytes]) -> None:
        self._supervisor, self._workplace, self._bodies = supervisor, workplace, bodies
        self._send = post_to(supervisor.url)
        self._events = [_events(self._send(body)[1]) for body in bodies]
        self.same_events = True

    def pace(self, runs: int, *, cold: bool) -> Pace:
        """Both ways, in turn."""
        alone: list[tuple[float, float]] = []
        together: list[tuple[float, float]] = []
        for _ in range(runs):
            for work, kept in ((self._one_by_one, alone), (self._at_once, together)):
                if cold:
                    self._workplace.forget()
                started, spent = time.perf_counter(), self._processor_seconds()
                answers = work(self._send)
                kept.append((time.perf_counter() - started, self._processor_seconds() - spent))
                self._compare([answer for _, answer in answers])
        return Pace(
            [wall for wall, _ in alone],
            [wall for wall, _ in together],
            [work for _, work in alone],
            [work for _, work in together],
        )

    def run_long(self, requests: int, on_share: Callable[[int], None]) -> tuple[Counter[int], dict[str, list[float]]]:
        """Statuses, and memory by process after each share. Each share begins without evidence."""
        statuses: Counter[int] = Counter()
        resident: dict[str, list[float]] = {name: [] for name in self._supervisor.pids()}
        for share in range(_SHARES):
            self._workplace.forget()
            bodies = [self._bodies[index % SIDE_BY_SIDE] for index in range(requests // _SHARES)]
            with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
                statuses.update(status for status, _ in pool.map(self._send, bodies))
            for name, pid in self._supervisor.pids().items():
                resident[name].append(_resident_mib(pid))
            on_share(share)
        return statuses, resident

    def kill(self, name: str) -> float:
        """Seconds from a kill -9 under load to the last answer."""
        self._workplace.forget()
        send = send_patiently(self._send)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            replies = [pool.submit(send, body) for body in self._bodies]
            replies[0].result()
            started = time.perf_counter()
            os.kill(self._supervisor.pids()[name], signal.SIGKILL)
            answers = [reply.result()[1] for reply in replies]
            seconds = time.perf_counter() - started
        self._compare(answers)
        return seconds

    def _one_by_one(self, send: SendRequest) -> list[tuple[int, bytes]]:
        return [send(body) for body in self._bodies]

    def _at_once(self, send: SendRequest) -> list[tuple[int, bytes]]:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(send, self._bodies))

    def _compare(self, answers: Sequence[bytes]) -> None:
        self.same_events = self.same_events and [_events(answer) for answer in answers] == self._events

    def _processor_seconds(self) -> float:
        return sum(map(_processor_seconds, self._supervisor.pids().values()))


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
        runs: Of eight clips, both ways, cold and warm.
        requests: Of the long run.
        on_progress: Told "load", steps done and steps in all.
    """
    clip = read_manifest(scenes)[1][0].path
    bodies = [
        TracksRequest(clip=refer_to_clip(clip), from_seconds=float(start), to_seconds=start + SPAN_SECONDS).to_json()
        for start in range(SIDE_BY_SIDE)
    ]
    steps = 2 + _SHARES + len(_KILLED)
    environment = {**workplace.environment(), "WHODID_CLIPS": str(clip.parent.resolve())}
    with (
        contextlib.redirect_stderr(io.StringIO()),
        Supervisor(str(workplace.settings.graph), environment=environment) as supervisor,
    ):
        served = _Served(supervisor, workplace, bodies)
        on_progress("load", 0, steps)
        cold = served.pace(runs, cold=True)
        on_progress("load", 1, steps)
        warm = served.pace(runs, cold=False)
        statuses, resident = served.run_long(requests, lambda share: on_progress("load", 3 + share, steps))
        recovered = {}
        for step, name in enumerate(_KILLED, start=3 + _SHARES):
            recovered[name] = served.kill(name)
            on_progress("load", step, steps)
    figures = LoadFigures(cold, warm, statuses, dict(resident), recovered, served.same_events)
    return tabulate(figures, clip.name, cores=len(os.sched_getaffinity(0)))


def tabulate(figures: LoadFigures, clip: str, *, cores: int) -> BenchTable:
    """Throughput, memory and recovery.

    Args:
        figures: Measured.
        clip: Which clip.
        cores: Of this machine.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, pace in (("cold", figures.cold), ("warm", figures.warm)):
        busy_alone, busy_together = pace.busy()
        rows += [
            (f"{name}: eight clips one by one, s", *_cells(Spread.of(pace.alone_seconds))),
            (f"{name}: eight clips at once, s", *_cells(Spread.of(pace.together_seconds))),
            (f"{name}: gain", *_cells(pace.gain())),
            (f"{name}: cores busy, one by one", *_cells(busy_alone)),
            (f"{name}: cores busy, at once", *_cells(busy_together)),
        ]
    slopes = {name: slope_per_100(mib, sum(figures.statuses.values())) for name, mib in figures.resident_mib.items()}
    steepest = max(slopes.values())
    wrong = {status: count for status, count in figures.statuses.items() if status not in (200, 429, 503)}
    remarks = [
        f"{name}: {mib[_FILLING - 1]:.0f} MiB after a fifth, {mib[-1]:.0f} at the end, "
        f"{slopes[name]:+.2f} per 100 requests"
        for name, mib in figures.resident_mib.items()
    ]
    remarks += [f"{name} killed: all eight answered after {s:.1f} s" for name, s in figures.recovered_seconds.items()]
    remarks.append(f"statuses of the long run: {dict(figures.statuses)}")
    for name, pace in (("cold", figures.cold), ("warm", figures.warm)):
        work = Spread.of(pace.together_processor_seconds).median
        most = Spread.of(pace.alone_seconds).median * cores / work
        remarks.append(f"{name}: with all {cores} cores busy the work of eight at once allows a gain of {most:.2f}")
    gain = figures.cold.gain().median
    return BenchTable(
        name="load",
        title="load: clips side by side, over HTTP on loopback",
        protocol=(
            f"{clip}, {SIDE_BY_SIDE} spans of {SPAN_SECONDS:g} s; cold: evidence thrown away before each run, warm: "
            f"kept. Then {sum(figures.statuses.values())} requests, {SIDE_BY_SIDE} at once, evidence thrown away after "
            f"every tenth; memory is resident memory, its slope a line through the last {_SHARES - _FILLING + 1} "
            "tenths' ends. Then each service is killed (-9) under eight requests whose client tries again."
        ),
        columns=("what", "minimum", "median", "maximum", "runs"),
        rows=tuple(rows),
        bars=(
            Bar("throughput gain at eight, cold", gain, f">= {_LEAST_GAIN:g} where cores allow", gain >= _LEAST_GAIN),
            Bar("answers but 200, 429, 503", sum(wrong.values()), "0", not wrong),
            Bar(
                "steepest memory, MiB per 100 requests",
                steepest,
                f"flat: <= {_MOST_MIB_PER_100:g}",
                steepest <= _MOST_MIB_PER_100,
            ),
            Bar(
                "same events, at once and after kill -9",
                "yes" if figures.same_events else "no",
                "yes",
                figures.same_events,
            ),
        ),
        remarks=tuple(remarks),
    )


def slope_per_100(resident_mib: Sequence[float], requests: int) -> float:
    """MiB a process grows in a hundred requests: the least-squares line through what follows the first fifth."""
    kept = np.asarray(resident_mib[_FILLING - 1 :], np.float64)
    per_share = float(np.polyfit(np.arange(len(kept)), kept, 1)[0])
    return per_share * _SHARES / requests * 100


def _cells(spread: Spread) -> tuple[Cell, ...]:
    return spread.minimum, spread.median, spread.maximum, spread.runs


def _events(reply: bytes) -> tuple[str, ...]:
    return tuple(event.event_id for event in Analysis.model_validate_json(reply).events)


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _processor_seconds(pid: int) -> float:
    """Of a process and all its threads.

    Source: proc(5), fields 14 and 15 of /proc/PID/stat.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
