"""Evidence bundles of painted people: every face is one colour, and that colour is who it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.contracts.clip import ClipRef
from services.contracts.tracks import TracksResponse, TrackSummary, Video
from services.perception.detection import Detection
from services.perception.frame import Frame
from services.perception.recording import EvidenceWriter, TrackRecord

Colour = tuple[int, int, int]
LANDMARKS_SHARE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], np.float32)


def paint_face(colour: Colour, *, side_px: int = 80) -> tuple[np.ndarray, Detection]:
    """A picture that is all one face, striped so that it counts as sharp."""
    picture = np.tile(np.array(colour, np.uint8), (side_px, side_px, 1))
    picture[:, ::3] //= 2
    face = Detection("face", np.array([0, 0, side_px, side_px], np.float32), 0.9, LANDMARKS_SHARE * side_px)
    return picture, face


def write_bundle(
    folder: Path, people: Sequence[tuple[Colour | None, float, float]], *, rate_hz: float = 10.0
) -> TracksResponse:
    """Record people, each a face colour (or None: no face seen) and when they are there."""
    summaries = []
    with EvidenceWriter(str(folder), "bundle") as writer:
        for number, (colour, start_seconds, end_seconds) in enumerate(people, start=1):
            record = TrackRecord(1.0)
            picture, face = paint_face(colour or (90, 90, 90))
            times = np.arange(round(start_seconds * rate_hz), round(end_seconds * rate_hz)) / rate_hz
            for pts_seconds in times:
                frame = Frame(picture, float(pts_seconds))
                record.add_body(frame, face.box_px, 0.9, detected=True)
                if colour is not None:
                    record.add_face(frame, face)
            track_id = f"t{number}"
            writer.write_track(track_id, record)
            summaries.append(
                TrackSummary(
                    track_id=track_id,
                    start_seconds=start_seconds,
                    end_seconds=end_seconds,
                    boxes=record.boxes,
                    faces=record.faces,
                )
            )
        evidence = writer.finish({"tracks": [summary.model_dump() for summary in summaries]})
    return TracksResponse(
        clip=ClipRef(clip_id="a" * 64, uri="file:///clip.mp4"),
        video=Video(width_px=80, height_px=80, start_seconds=0, end_seconds=9, frames=90, codec="h264"),
        evidence=evidence,
        tracks=tuple(summaries),
        models=(),
    )
