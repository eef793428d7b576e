"""Speed: seconds of work for a second of video, and where they go."""

import time
from collections.abc import Callable
from pathlib import Path

from services.assembly import LOADERS
from services.client import analyze_clip, refer_to_clip
from services.contracts.tracks import TracksRequest, TracksResponse
from services.graph.router import GraphExecutor, StepTiming
from services.graph.spec import load_graph
from services.graph.transports import LocalServices
from services.models.store import ModelStore
from services.reports.report import write_report
from services.service import Service
from services.tracks.find import Detectors, find_tracks
from training.bench.table import Bar, BenchTable, Cell, Spread
from training.bench.workplace import Workplace
from training.datasets.manifests import read_manifest

_TRACKS_STAGES = ("verify", "decode", "persons", "faces", "tracking", "evidence")
_STAGES = (*_TRACKS_STAGES, "identity", "action", "events", "report")


class TimedGraph:
    """The graph file over the four services in this process, with a stopwatch at every stage.

    Attributes:
        load_seconds: How long the models took to load.
        spent_seconds: Wall seconds of the last analysis, by stage.
    """

    def __init__(self, workplace: Workplace) -> None:
        """Load everything."""
        started = time.perf_counter()
        settings = workplace.settings
        self.spent_seconds: dict[str, float] = {}
        detectors = Detectors.load(ModelStore(settings.models), device=settings.device)

        def find(request: TracksRequest) -> TracksResponse:
            return find_tracks(request, detectors, settings.evidence, on_times=self.spent_seconds.update)

        services = {name: load(settings) for name, load in LOADERS.items() if name != "tracks"}
        services["tracks"] = Service("tracks", TracksRequest, find)
        self._executor = GraphExecutor(
            load_graph(settings.graph),
            LocalServices({name: service.answer for name, service in services.items()}),
            on_step=self._note,
        )
        self.load_seconds = time.perf_counter() - started

    def send(self, body: bytes) -> tuple[int, bytes]:
        """Run a request; see services.client.SendRequest."""
        self.spent_seconds.clear()
        reply = self._executor.run(body)
        return reply.status, reply.body

    def _note(self, timing: StepTiming) -> None:
        if timing.service and timing.service != "tracks":
            self.spent_seconds[timing.service] = timing.milliseconds / 1000


def measure_speed(
    workplace: Workplace, scenes: Path, runs: int, *, on_progress: Callable[[str, float, float], None]
) -> BenchTable:
    """Analyse the first clip of a set several times, each time anew.

    Args:
        workplace: Who is enrolled.
        scenes: A folder with a manifest.
        runs: How often.
        on_progress: Told "speed", runs done and runs in all.
    """
    clip = read_manifest(scenes)[1][0]
    graph = TimedGraph(workplace)
    samples: list[dict[str, float]] = []
    video = ""
    video_seconds = 0.0
    for done in range(runs):
        on_progress("speed", done, runs)
        workplace.forget()
        started = time.perf_counter()
        analysis = analyze_clip(graph.send, refer_to_clip(clip.path))
        analysed = time.perf_counter()
        write_report(analysis, clip.path, workplace.folder / "report")
        ended = time.perf_counter()
        samples.append({**graph.spent_seconds, "report": ended - analysed, "all": ended - started})
        video_seconds = analysis.video.end_seconds - analysis.video.start_seconds
        rate_hz = analysis.video.frames / video_seconds
        video = (
            f"{clip.path.name}: {video_seconds:.1f} s, {analysis.video.width_px}x{analysis.video.height_px}, "
            f"{analysis.video.codec}, {len(clip.people)} people, {rate_hz:.1f} frames/s looked at"
        )
    on_progress("speed", runs, runs)
    return tabulate(samples, video_seconds, f"{video}. Models load in {graph.load_seconds:.1f} s, apart")


def tabulate(samples: list[dict[str, float]], video_seconds: float, what: str) -> BenchTable:
    """Spread of each stage's seconds a second of video.

    Args:
        samples: Of each run, wall seconds by stage, and of `all`.
        video_seconds: Length of the clip.
        what: Which clip.
    """
    whole = Spread.of([sample["all"] / video_seconds for sample in samples])
    rows: list[tuple[Cell, ...]] = []
    for stage in (*_STAGES, "all"):
        spread = Spread.of([sample[stage] / video_seconds for sample in samples])
        share = Spread.of([sample[stage] / sample["all"] for sample in samples]).median
        rows.append((stage, spread.minimum, spread.median, spread.maximum, f"{share:.1%}"))
    return BenchTable(
        name="speed",
        title="speed: seconds of work for a second of video",
        protocol=(
            f"{what}. {len(samples)} runs in one process, the first among them, each with no evidence from before: "
            "clip to events through the graph file, then the report folder. Identity and action run side by side, so "
            "shares may add up to more than all."
        ),
        columns=("stage", "min", "median", "max", "share"),
        rows=tuple(rows),
        bars=(Bar("seconds for a second of video (median)", whole.median, "< 1", whole.median < 1),),
    )
