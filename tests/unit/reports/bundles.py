"""Clips and evidence bundles to report on, small and made up."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.contracts.events import Analysis
from services.contracts.tracks import EvidenceRef
from services.perception.encode import write_mp4
from services.perception.evidence import POINT
from services.perception.frame import Frame, Picture


def write_clip(path: Path, *, seconds: float, rate_fps: float, size_px: tuple[int, int]) -> None:
    """A grey clip with a slow ramp, so that every frame differs."""
    width_px, height_px = size_px
    ramp = np.linspace(60, 160, width_px, dtype=np.uint8)[None, :, None].repeat(height_px, 0).repeat(3, 2)
    write_mp4((Frame(ramp + np.uint8(i % 40), i / rate_fps) for i in range(round(seconds * rate_fps))), path)


def write_bundle(
    path: Path,
    boxes: Mapping[str, tuple[Sequence[float], NDArray[np.floating]]],
    faces: Mapping[str, Picture],
) -> EvidenceRef:
    """A bundle in the documented layout: times and (N, 4) boxes by track id, and a face for some."""
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("meta.json", json.dumps({"tracks": [{"track_id": track_id} for track_id in boxes]}))
        for track_id, (seconds, track_boxes) in boxes.items():
            points = np.zeros(len(seconds), POINT)
            points["pts_seconds"], points["box_px"] = seconds, track_boxes
            points["confidence"], points["detected"] = 0.9, True
            buffer = io.BytesIO()
            np.save(buffer, points)
            bundle.writestr(f"tracks/{track_id}/points.npy", buffer.getvalue())
            found = []
            if track_id in faces:
                buffer = io.BytesIO()
                Image.fromarray(faces[track_id]).save(buffer, "PNG")
                bundle.writestr(f"tracks/{track_id}/face-00.png", buffer.getvalue())
                side = faces[track_id].shape[0]
                quality = {
                    "size": 1,
                    "sharpness": 1,
                    "pose": 1,
                    "confidence": 1,
                    "yaw_rad": 0,
                    "pitch_rad": 0,
                }
                box = [side / 4, side / 4, side * 3 / 4, side * 3 / 4]
                found = [
                    {
                        "pts_seconds": 0,
                        "file": "face-00.png",
                        "box_px": box,
                        "landmarks_px": [[0, 0]] * 5,
                        "quality": quality,
                    }
                ]
            bundle.writestr(f"tracks/{track_id}/faces.json", json.dumps(found))
    return EvidenceRef(uri=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def standing_still(analysis: Analysis) -> dict[str, tuple[Sequence[float], NDArray[np.floating]]]:
    """Everyone in the middle of their share of the picture, ten boxes a second."""
    video = analysis.video
    share = video.width_px / max(len(analysis.tracks), 1)
    placed = {}
    for index, report in enumerate(analysis.tracks):
        track = report.track
        seconds = np.arange(track.start_seconds, track.end_seconds + 1e-6, 0.1)
        box = [share * (index + 0.3), video.height_px * 0.3, share * (index + 0.7), video.height_px * 0.95]
        placed[track.track_id] = (seconds.tolist(), np.tile(box, (len(seconds), 1)))
    return placed
