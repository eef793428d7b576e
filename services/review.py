"""`whodid show`: the pixels of one event, for somebody to judge it by."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.archive.query import Sighting
from services.archive.store import Archive
from services.client import refer_to_clip
from services.contracts.errors import BadInput, BadUsage
from services.contracts.tracks import Video
from services.history import clip_name_of, open_any_evidence
from services.perception.decode import decode
from services.perception.evidence import Evidence
from services.perception.frame import Picture
from services.reports.exhibit import compose_sheet, show_only
from services.reports.hiding import Rectangle
from services.reports.paths import path_of
from services.reports.people import UNRECOGNISED_NAMES
from services.reports.report import choose_face
from services.reports.timecode import format_span

FRAMES = 6
# Two tracks that share most of their boxes are one figure, followed twice: it is not to be hidden from itself.
SAME_PERSON_OVERLAP = 0.6
_LONGEST_SIDE_PX = 1280


def write_review(sighting: Sighting, archive: Archive, target: Path) -> list[Path]:
    """Write the face and frames of an event: a sheet where `target` ends in .png, else a folder of pictures.

    Frames are read from the clip while it is where it was and has the bytes that were analysed; else the
    evidence's small pictures of the person alone stand in for them.

    Raises:
        BadInput: The evidence is gone.
        BadUsage: `target` is a file, but no PNG.
    """
    if target.suffix.lower() != ".png" and target.is_file():
        raise BadUsage(f"{target} is a file: give a name that ends in .png, or a folder")
    (record,) = archive.find_analyses(analysis_id=sighting.analysis_id)
    with open_any_evidence(record) as evidence:
        crops = evidence.faces(sighting.event.track_id)
        face = choose_face(crops).chip if crops else None
        clip = _clip_of(sighting)
        if clip is not None and record.video is not None:
            frames = list(_frames_of(sighting, clip, record.video, evidence))
        else:
            frames = list(_strip_of(sighting, evidence))
    if target.suffix.lower() == ".png":
        return [_save(compose_sheet(face, frames, _words_of(sighting)), target)]
    pictures = {f"frame-{number}.png": frame for number, frame in enumerate(frames, start=1)}
    if face is not None:
        pictures["face.png"] = face
    return [_save(picture, target / name) for name, picture in sorted(pictures.items())]


def _clip_of(sighting: Sighting) -> Path | None:
    """The clip's file, if its bytes are the ones analysed."""
    parts = urlsplit(sighting.clip.uri)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or not path.is_file():
        return None
    return path if refer_to_clip(path).clip_id == sighting.clip.clip_id else None


def _frames_of(sighting: Sighting, clip: Path, video: Video, evidence: Evidence) -> Iterator[Picture]:
    event = sighting.event
    paths = {track_id: path_of(evidence.track(track_id)) for track_id in evidence.track_ids()}
    own = paths.pop(event.track_id)
    rate_hz = FRAMES / (event.end_seconds - event.start_seconds)
    with decode(
        clip,
        from_seconds=event.start_seconds,
        to_seconds=event.end_seconds,
        at_rate_hz=rate_hz,
        longest_side_px=_LONGEST_SIDE_PX,
    ) as frames:
        for frame in frames:
            scale = np.array([frame.width_px / video.width_px, frame.height_px / video.height_px] * 2)
            box = own.cover(frame.pts_seconds)
            if box is not None:
                others = [
                    _on_frame(values[0, :4], scale)
                    for in_view, values in (path.interpolate(np.array([frame.pts_seconds])) for path in paths.values())
                    if in_view[0] and _overlap_share(values[0, :4], box) < SAME_PERSON_OVERLAP
                ]
                yield show_only(frame.rgb, _on_frame(box, scale), others)


def _on_frame(box_px: NDArray[np.float64], scale: NDArray[np.float64]) -> Rectangle:
    left, top, right, bottom = (box_px * scale).tolist()
    return left, top, right, bottom


def _overlap_share(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union."""
    sides = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return float(np.prod(sides)) / max(sum(areas) - float(np.prod(sides)), 1e-9)


def _strip_of(sighting: Sighting, evidence: Evidence) -> Iterator[Picture]:
    event = sighting.event
    strip = evidence.strip(event.track_id)
    first, last = np.searchsorted(strip.pts_seconds, [event.start_seconds, event.end_seconds])
    if first == last:
        raise BadInput(f"event {event.event_id}: its evidence holds no picture from that time; analyse the clip again")
    for index in np.unique(np.linspace(first, last - 1, FRAMES).astype(int)):
        yield strip.pictures[int(index)]


def _words_of(sighting: Sighting) -> list[str]:
    event = sighting.event
    who = event.identity.subject_id or UNRECOGNISED_NAMES[event.identity.decision]
    similarity = "" if event.identity.similarity is None else f"face similarity {event.identity.similarity:.3f}"
    threshold = "" if event.identity.threshold is None else f"threshold {event.identity.threshold:.3f}"
    action = f"{event.action.name.replace('_', ' ')}, probability {event.action.probability:.0%}"
    when = "" if event.started_at is None else f"{event.started_at:%Y-%m-%d %H:%M:%S} UTC"
    where = f"{clip_name_of(sighting)} {format_span(event.start_seconds, event.end_seconds)}"
    return [
        f"{who}: {action}",
        ", ".join(filter(None, [similarity, threshold])),
        ", ".join(filter(None, [when, event.camera_id or "", where])),
        f"event {event.event_id}",
        f"evidence {event.provenance.evidence_sha256}",
    ]


def _save(picture: Picture, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, "PNG")
    return path
