"""The report folder of one clip: all of it appears at once, or none of it does."""

import errno
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.contracts.errors import BadUsage, WhodidError
from services.contracts.events import Analysis
from services.perception.crop import cut_square, square_around
from services.perception.evidence import Evidence, FaceCrop, open_evidence
from services.reports.annotate import annotate_clip
from services.reports.exports import ava_rows, mot_rows, number_tracks, vtt_cues
from services.reports.page import Face, render_page
from services.reports.paths import path_of
from services.reports.people import gather_people, index_by_track


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where everything lies, once it is there."""

    folder: Path
    analysis: Path
    events: Path
    page: Path
    video: Path
    ava: Path
    mot: Path
    vtt: Path


# The face with its hair and chin; the evidence keeps more around it than a portrait needs.
FACE_CONTEXT = 1.35
FACE_SIDE_PX = 112
FILE_NAMES = {
    "analysis": "analysis.json",
    "events": "events.jsonl",
    "page": "report.html",
    "video": "annotated.mp4",
    "ava": "ava.csv",
    "mot": "tracks.mot.txt",
    "vtt": "events.vtt",
}


def write_report(
    analysis: Analysis,
    clip: Path,
    folder: Path,
    *,
    show_strangers: bool = False,
    on_progress: Callable[[float, float], None] | None = None,
) -> ReportPaths:
    """Write everything people and tools read of one analysis.

    It is written beside `folder` and renamed into place at the end: an interrupt, a fault or a full disk
    leaves an earlier report as it was, and nothing half-written.

    Args:
        analysis: What was found.
        clip: The file that was analysed.
        folder: Of this clip alone; made, or replaced if it is an earlier report.
        show_strangers: Leave people who are not named as they are, in the page and in the video: only for those
            who may see the clip itself.
        on_progress: Told seconds of video annotated and seconds in all.

    Raises:
        BadUsage: `folder` holds something that is not a report.
        BadInput: The clip or its evidence can no longer be read.
        WhodidError: The disk is full.
    """
    _refuse_foreign(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A plain folder inside the private one has the permissions everyone expects.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name[:40]}.", dir=folder.parent) as workshop:
            fresh = Path(workshop, "new")
            fresh.mkdir()
            with open_evidence(analysis.evidence.uri, analysis.evidence.sha256) as evidence:
                _write_files(analysis, evidence, clip, _paths_in(fresh), show_strangers, on_progress)
            _refuse_foreign(folder)
            _exchange(fresh, folder, Path(workshop, "old"))
    except Exception as fault:
        if getattr(fault, "errno", None) == errno.ENOSPC:
            raise WhodidError(f"no space left to write {folder}: free some, or choose another --out") from fault
        raise
    return _paths_in(folder)


def remove_report(folder: Path, clip_id: str) -> bool:
    """Delete the report of a clip, unless something else lies there by now.

    Returns:
        Whether there was one.
    """
    try:
        held = Analysis.model_validate_json((folder / FILE_NAMES["analysis"]).read_bytes())
        _refuse_foreign(folder)
    except (OSError, ValueError, BadUsage):
        return False
    if held.clip.clip_id != clip_id:
        return False
    shutil.rmtree(folder)
    return True


def _paths_in(folder: Path) -> ReportPaths:
    return ReportPaths(folder=folder, **{name: folder / file for name, file in FILE_NAMES.items()})


def _refuse_foreign(folder: Path) -> None:
    """Replacing a folder deletes what is in it, so it may hold nothing but a report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadUsage(f"{folder} is a file: choose another --out, or move it away")
    foreign = sorted({entry.name for entry in folder.iterdir()} - set(FILE_NAMES.values()))
    if foreign:
        raise BadUsage(f"{folder} holds {foreign[0]}, which is not of a report: choose another --out, or move it away")


def _exchange(fresh: Path, folder: Path, old: Path) -> None:
    earlier = folder.exists()
    if earlier:
        folder.rename(old)
    try:
        fresh.rename(folder)
    except BaseException:
        if earlier:
            old.rename(folder)
        raise


def _write_files(
    analysis: Analysis,
    evidence: Evidence,
    clip: Path,
    paths: ReportPaths,
    show_strangers: bool,
    on_progress: Callable[[float, float], None] | None,
) -> None:
    boxes = {report.track.track_id: path_of(evidence.track(report.track.track_id)) for report in analysis.tracks}
    people = index_by_track(gather_people(analysis))
    faces = {
        report.track.track_id: choose_face(crops)
        for report in analysis.tracks
        if (crops := evidence.faces(report.track.track_id))
    }
    paths.analysis.write_bytes(analysis.model_dump_json(indent=2).encode() + b"\n")
    paths.events.write_bytes(b"".join(event.to_json() + b"\n" for event in analysis.events))
    paths.page.write_text(
        render_page(analysis, faces, clip.name, show_strangers=show_strangers), encoding="utf-8", newline="\n"
    )
    numbers = number_tracks(boxes)
    ava = ava_rows(analysis.events, analysis.video, numbers, boxes, clip.stem)
    paths.ava.write_text(ava, encoding="utf-8", newline="\n")
    with paths.mot.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(mot_rows(analysis, boxes))
    vtt = vtt_cues(analysis.events, lambda event: people[event.track_id].name)
    paths.vtt.write_text(vtt, encoding="utf-8", newline="\n")
    annotate_clip(analysis, boxes, clip, paths.video, show_strangers=show_strangers, on_progress=on_progress)


def choose_face(crops: list[FaceCrop]) -> Face:
    """A track's best face, cut to what a portrait needs."""
    best = max(crops, key=lambda crop: crop.quality.overall)
    chip = cut_square(best.rgb, square_around(best.box_px, FACE_CONTEXT), FACE_SIDE_PX)
    return Face(chip, best.quality.overall)
