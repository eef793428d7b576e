"""Memory: the peak of a whole `whodid analyze`, on a short and on a long clip."""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from services.contracts.errors import WhodidError
from services.perception.decode import probe
from services.perception.encode import repeat_mp4
from training.bench.table import Bar, BenchTable, Cell
from training.bench.workplace import Workplace
from training.datasets.manifests import read_manifest

SHORT_MINUTES = 2.0
_BAR_MINUTES = 30.0
_MOST_MIB = 1500.0
# Two analyses of one clip have differed by a sixth, as threads happen to overlap; keeping the frames of one second
# a minute would add more than half of the peak in ten minutes.
_FLAT_RATIO = 1.25
_POLL_SECONDS = 0.05


def measure_memory(
    workplace: Workplace, scenes: Path, minutes: float, *, on_progress: Callable[[str, float, float], None]
) -> BenchTable:
    """Analyse the first clip of a set, repeated to two lengths, each in a process of its own.

    Args:
        workplace: Who is enrolled.
        scenes: A folder with a manifest.
        minutes: The greater length.
        on_progress: Told "memory", lengths done and lengths in all.

    Raises:
        WhodidError: An analysis failed.
    """
    clip = read_manifest(scenes)[1][0].path
    lengths = (min(SHORT_MINUTES, minutes / 2), minutes)
    peaks = []
    for done, length in enumerate(lengths):
        on_progress("memory", done, len(lengths))
        repeated = workplace.folder / f"repeated-{length:g}-minutes.mp4"
        repeat_mp4(clip, repeated, math.ceil(length * 60 / (probe(clip).duration_seconds or 1.0)))
        started = time.perf_counter()
        command = [sys.executable, "-m", "services.cli", "analyze", str(repeated), "--out", str(workplace.folder)]
        peaks.append((length, peak_rss_mib(command, workplace.environment()), time.perf_counter() - started))
        repeated.unlink()
        workplace.forget()
    on_progress("memory", len(lengths), len(lengths))
    return tabulate(peaks, clip.name)


def peak_rss_mib(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and say how much memory it held at most, in MiB.

    The kernel keeps the peak (VmHWM) while the process lives; it is read until the process ends. What `wait4`
    reports in its place would count this process's own memory, out of which the child began.

    Raises:
        WhodidError: The command failed; holds its last words.
    """
    peak_kib = 0
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=words)
        try:
            while process.poll() is None:
                peak_kib = max(peak_kib, _peak_kib(process.pid))
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            words.seek(0)
            raise WhodidError(f"{' '.join(command)} ended with {process.returncode}: {words.read().strip()[-300:]}")
    return peak_kib / 1024


def _peak_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0  # a process that has ended and is not yet waited for has no memory any more


def tabulate(peaks: list[tuple[float, float, float]], clip: str) -> BenchTable:
    """Peaks by length, and their ratio.

    Args:
        peaks: Of a short and a long clip: minutes, MiB, seconds of work.
        clip: Which clip was repeated.
    """
    (short_minutes, short_mib, _), (long_minutes, long_mib, _) = peaks
    ratio = long_mib / short_mib
    asked = "" if long_minutes >= _BAR_MINUTES else f" at {_BAR_MINUTES:g} minutes; measured at {long_minutes:g}"
    rows: list[tuple[Cell, ...]] = [(f"{minutes:g}", mib, seconds) for minutes, mib, seconds in peaks]
    return BenchTable(
        name="memory",
        title="memory: peak of a whole analysis",
        protocol=(
            f"{clip}, its packets repeated without encoding, through `whodid analyze` with its report; one process "
            "and one run a length. Peak resident memory as the kernel keeps it (VmHWM)."
        ),
        columns=("minutes of video", "peak MiB", "seconds"),
        rows=tuple(rows),
        bars=(
            Bar("peak MiB", long_mib, f"< {_MOST_MIB:g}{asked}", long_mib < _MOST_MIB),
            Bar(
                f"peak at {long_minutes:g} minutes by peak at {short_minutes:g}",
                ratio,
                f"flat: <= {_FLAT_RATIO:g}",
                ratio <= _FLAT_RATIO,
            ),
        ),
    )
