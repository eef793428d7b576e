"""`whodid analyze`: clips through the graph, side by side, each to its own report folder."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from services.access.audit import AuditLog
from services.access.caller import Caller, local_user
from services.access.sources import ANY_LOCAL_FILE
from services.access.tokens import token_for
from services.archive.store import Archive
from services.client import SendRequest, analyze_clip, post_to, refer_to_clip
from services.console import ProgressBars, print_events, warn
from services.contracts.errors import BadInput, BadUsage, WhodidError
from services.contracts.events import Analysis
from services.patience import send_patiently
from services.reports.report import write_report
from services.settings import Settings, read_settings
from services.strangers import Acquaintance


def analyze_clips(
    clips: Sequence[Path],
    *,
    gallery: str | None,
    out: Path,
    as_json: bool,
    span_seconds: tuple[float, float | None],
    server: str | None,
    jobs: int,
    camera_id: str | None = None,
    started_at: datetime | None = None,
    show_strangers: bool = False,
    purpose: str | None = None,
) -> int:
    """Analyse every clip, write its report, record its events and print what came of it.

    A clip that cannot be read costs only itself.

    Args:
        clips: Files.
        gallery: Path or url; must exist when given. The machine's own when None.
        out: Report folders go here, one a clip, named by its stem.
        as_json: Print one Analysis a line instead of tables.
        span_seconds: From and to; to the end when the second is None.
        server: Url of a served graph; in this process when None.
        jobs: How many clips at a time.
        camera_id: Which camera recorded them.
        started_at: When second 0 was recorded; of one clip.
        show_strangers: Do not hide people who are not named in the report.
        purpose: Why, for the audit log.

    Returns:
        Exit code: 0, else the first failed clip's.
    """
    twins = [stem for stem, count in Counter(clip.stem for clip in clips).items() if count > 1]
    if twins:
        raise BadUsage(f"several clips are called {twins[0]!r} and would share {out / twins[0]}: analyse them apart")
    if started_at is not None and len(clips) > 1:
        raise BadUsage(f"{len(clips)} clips did not all start at {started_at.isoformat()}: analyse them apart")
    settings = read_settings()
    if gallery is not None:
        if "://" not in gallery and not Path(gallery).exists():
            raise BadInput(f"no gallery at {gallery}: enrol somebody first with `whodid enroll --gallery {gallery}`")
        settings = replace(settings, gallery=gallery)
    caller, audit = local_user(purpose), AuditLog.open(settings)
    acquaintance = Acquaintance(settings)
    stop = threading.Event()
    with ProgressBars(unit="s") as bars, ThreadPoolExecutor(min(jobs, len(clips))) as pool:
        names = {}

        def show(name: str, done: float, total: float) -> None:
            if stop.is_set():
                raise KeyboardInterrupt  # unwinds the worker, which removes what it has half written
            bars.advance_to(name, done, total)

        def run(clip: Path) -> Analysis:
            reference = refer_to_clip(clip, camera_id=camera_id, started_at=started_at)
            names[reference.clip_id] = clip.name
            analysis = analyze_clip(send, reference, from_seconds=span_seconds[0], to_seconds=span_seconds[1])
            audit.record("export", caller, subjects=_named(analysis), clip_id=reference.clip_id, form="report")
            # Recorded first: no report lies anywhere that the archive, and so an erasure, would not know of.
            Archive(settings.archive).record(analysis, report_folder=out / clip.stem)
            if called := acquaintance.meet(analysis):
                audit.record("enrol", caller, clip_id=reference.clip_id, what="unknown people", people=len(called))
            write_report(
                analysis,
                clip,
                out / clip.stem,
                show_strangers=show_strangers,
                on_progress=lambda done, total: show(f"{clip.name} report", done, total),
            )
            return analysis

        send = (
            send_patiently(post_to(server, token=token_for(settings, server), purpose=purpose))
            if server
            else run_here(settings, lambda clip_id, done, total: show(names[clip_id], done, total), caller=caller)
        )
        try:
            futures = [pool.submit(run, clip) for clip in clips]
            codes = [_settle(clip, future) for clip, future in zip(clips, futures, strict=True)]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    for clip, future in zip(clips, futures, strict=True):
        if future.exception() is None:
            _print(clip, future.result(), out / clip.stem, as_json=as_json)
    return next((code for code in codes if code), 0)


def run_here(
    settings: Settings,
    on_progress: Callable[[str, float, float], None] | None = None,
    *,
    caller: Caller | None = None,
) -> SendRequest:
    """Load the four services into this process, behind the graph file.

    Args:
        settings: Of this machine.
        on_progress: Told clip_id, seconds done, seconds in all.
        caller: On whose behalf; this process's user when None.

    Raises:
        MissingModel: A model is absent or not the one its card names.
    """
    from services.assembly import LOADERS, load_identity, load_tracks
    from services.graph.router import GraphExecutor
    from services.graph.spec import load_graph
    from services.graph.transports import LocalServices

    own: dict[str, Any] = {
        "tracks": load_tracks(settings, sources=ANY_LOCAL_FILE, on_progress=on_progress),
        "identity": load_identity(settings, caller=caller),
    }
    services = [own[name] if name in own else load(settings) for name, load in LOADERS.items()]
    executor = GraphExecutor(
        load_graph(settings.graph), LocalServices({service.name: service.answer for service in services})
    )

    def send(body: bytes) -> tuple[int, bytes]:
        reply = executor.run(body)
        return reply.status, reply.body

    return send


def _named(analysis: Analysis) -> set[str]:
    return {event.identity.subject_id for event in analysis.events if event.identity.subject_id is not None}


def _settle(clip: Path, future: Future[Analysis]) -> int:
    try:
        analysis = future.result()
    except WhodidError as error:
        warn(f"whodid: {clip}: {error}")
        return error.exit_code
    for branch, failure in analysis.failures.items():
        warn(f"whodid: {clip}: partial: {branch} failed: {failure}")
    for warning in analysis.warnings:
        warn(f"whodid: {clip}: {warning}")
    return 1 if analysis.status == "partial" else 0


def _print(clip: Path, analysis: Analysis, folder: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(analysis.to_json().decode() + "\n")
        return
    print_events(f"{clip.name}: who did what", analysis)
    sys.stdout.write(f"report: {folder / 'report.html'}\n")
