"""What a set holds and what is true in it, written as `manifest.json` beside its files.

::

    {"format": "whodid-scenes-1",
     "set": "heldout",
     "actions": ["stand", ...],                     every action that can occur
     "clips": [{
        "file": "heldout-00.mp4", "sha256": "...",  beside the manifest
        "seed": 7000, "place": "lobby",
        "width_px": 1280, "height_px": 720, "fps": 25.0, "seconds": 20.0, "frames": 500,
        "people": [{
           "subject_id": "subject-00042",
           "actions": [{"name": "walk", "start_seconds": 0.4, "end_seconds": 3.5}, ...],
           "boxes_px": [[x0, y0, x1, y1] or null, ...],
           "visible": [0.0 to 1.0, ...],
           "faces": [{"box_px": [...], "landmarks_px": [[x, y] * 5], "yaw_rad": 0.1} or null, ...]}]}],
     "stills": [{"file": "subject-00042/0.jpg", "sha256": "...", "subject_id": "subject-00042"}, ...]}

`boxes_px`, `visible` and `faces` have one entry a frame; frame k is shown at k / fps seconds. Boxes are tight around
the drawn pixels inside the frame, with those hidden behind somebody; `visible` is the share of the whole silhouette
that is inside the frame and not hidden; null means out of frame. Faces are listed while they are mostly visible and
turned less than about 70 degrees from the camera; their boxes run from above the brows to the chin, `yaw_rad` is 0 for
a frontal one, and landmarks are eye, eye, nose tip, mouth corner, mouth corner, the picture's left one first.

Action intervals are half-open, in order, never overlap and leave no gap while the person is in the frame: those of the
script, cut to the time in which at least a quarter of the person is visible. A fall lasts until the person stands again
or the clip ends, lying and getting up included; a crouch includes getting up; who is shoved and reels without falling
still counts as standing.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.perception.encode import write_mp4
from services.perception.frame import Frame
from training.scenes.motion import ACTIONS
from training.scenes.render import PersonTruth, Scene, render_frames

FORMAT = "whodid-scenes-1"
_PRESENT_SHARE = 0.25
_QUALITY_CRF = 27


@dataclass(slots=True)
class _Ledger:
    """Collects the truth of frames that pass by."""

    rows: list[tuple[PersonTruth | None, ...]] = field(default_factory=list)

    def watch(self, scene: Scene) -> Iterator[Frame]:
        for index, frame in enumerate(render_frames(scene)):
            self.rows.append(frame.people)
            yield Frame(rgb=frame.rgb, pts_seconds=index / scene.fps)


def write_clip(scene: Scene, path: Path) -> dict[str, Any]:
    """Render and encode a scene; the same scene gives the same bytes.

    Args:
        scene: What to render.
        path: The MP4 to write.

    Returns:
        The clip's entry of a manifest.
    """
    ledger = _Ledger()
    write_mp4(ledger.watch(scene), path, quality_crf=_QUALITY_CRF)
    return {
        "file": path.name,
        "sha256": digest(path),
        "seed": scene.seed,
        "place": scene.place,
        "width_px": scene.camera.width_px,
        "height_px": scene.camera.height_px,
        "fps": scene.fps,
        "seconds": scene.seconds,
        "frames": scene.frame_count,
        "people": describe_people(scene, ledger.rows),
    }


def describe_people(scene: Scene, rows: list[tuple[PersonTruth | None, ...]]) -> list[dict[str, Any]]:
    """Turn per-frame truths into the manifest's `people`; whoever never comes into the frame is left out."""
    people = []
    for number, part in enumerate(scene.parts):
        column = [row[number] for row in rows]
        present = [k for k, truth in enumerate(column) if truth is not None and truth.visible >= _PRESENT_SHARE]
        if not present:
            continue
        begin, end = present[0] / scene.fps, (present[-1] + 1) / scene.fps
        actions = []
        for act in part.acts:
            start, stop = max(act.start_seconds, begin), min(act.end_seconds, end)
            if stop - start > 1 / scene.fps:
                actions.append({"name": act.action, "start_seconds": round(start, 3), "end_seconds": round(stop, 3)})
        people.append(
            {
                "subject_id": part.subject.subject_id,
                "actions": actions,
                "boxes_px": [truth and [int(v) for v in truth.box_px] for truth in column],
                "visible": [round(truth.visible, 2) if truth else 0.0 for truth in column],
                "faces": [_describe_face(truth) for truth in column],
            }
        )
    return people


def _describe_face(truth: PersonTruth | None) -> dict[str, Any] | None:
    if truth is None or truth.face is None:
        return None
    return {
        "box_px": [int(v) for v in truth.face.box_px],
        "landmarks_px": [[round(x, 1), round(y, 1)] for x, y in truth.face.landmarks_px],
        "yaw_rad": round(truth.face.yaw_rad, 3),
    }


def write_manifest(
    folder: Path, name: str, clips: Iterable[dict[str, Any]], stills: Iterable[dict[str, Any]] = ()
) -> Path:
    """Write `manifest.json` into a folder.

    Args:
        folder: Where the clips and stills are.
        name: Of the set.
        clips: Entries from `write_clip`.
        stills: Entries with file, sha256 and subject_id.
    """
    path = folder / "manifest.json"
    content = {"format": FORMAT, "set": name, "actions": ACTIONS, "clips": list(clips), "stills": list(stills)}
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    return path


def digest(path: Path) -> str:
    """Sha256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
