"""Recording: the writing side of the evidence bundle. Bounded memory, whole or absent, the same bytes every time."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from PIL import Image

from services.contracts.errors import BadInput
from services.contracts.tracks import EvidenceRef
from services.perception.crop import cut_square, square_around
from services.perception.detection import Detection
from services.perception.evidence import POINT, SHEET_PICTURES, STRIP_SIDE_PX, FaceCrop
from services.perception.frame import Frame, Picture
from services.perception.quality import rate_face

BODY_CONTEXT = 1.25
FACE_CONTEXT = 2.0
LONGEST_FACE_SIDE_PX = 256
FACES_KEPT = 12
# A body carried over from the motion is cut for so long; then nobody knows what the crop shows.
CARRIED_SECONDS = 1.6
# A face with others before and after it within this much shows little that they do not.
_SPREAD_SECONDS = 4.0
_JPEG_QUALITY = 90
# Zip's own first day: a bundle says when it was recorded nowhere, or its bytes would differ each time.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class TrackRecord:
    """One track's evidence while the clip is read. Holds at most one sheet of bodies and the best faces.

    Attributes:
        boxes: Pictures in which the person was detected.
    """

    def __init__(self, px_scale: float) -> None:
        """Start empty; `px_scale` source pixels make one pixel of the frames that will be given."""
        self._px_scale = px_scale
        self._points = np.zeros(64, POINT)
        self._length = 0
        self._unwritten: list[Picture] = []
        self._carried: list[tuple[Picture, NDArray[np.void]]] = []
        self._detected_seconds = -np.inf
        self._sheets = 0
        self._faces: list[FaceCrop] = []
        self.boxes = 0

    def __len__(self) -> int:
        return self._length

    @property
    def faces(self) -> int:
        """Face crops kept."""
        return len(self._faces)

    def span_seconds(self) -> tuple[float, float]:
        """Times of the first and the last picture."""
        points = self._points
        return float(points[0]["pts_seconds"]), float(points[self._length - 1]["pts_seconds"])

    def add_body(self, frame: Frame, box_px: NDArray[np.floating], confidence: float, *, detected: bool) -> None:
        """Cut a body out of a frame.

        A box carried over from the motion waits until the person is detected again: where they never are,
        they had left, and the box showed nobody.

        Args:
            frame: The picture.
            box_px: (4,), in pixels of `frame`.
            confidence: The detector's; 0 when not detected.
            detected: Whether the person was found in this very frame.
        """
        if detected:
            self._detected_seconds = frame.pts_seconds
            self.boxes += 1
        elif frame.pts_seconds - self._detected_seconds > CARRIED_SECONDS:
            return
        square = square_around(box_px, BODY_CONTEXT)
        left, top, side = square
        point = np.zeros((), POINT)
        point["pts_seconds"] = frame.pts_seconds
        point["box_px"] = np.asarray(box_px, np.float32) * self._px_scale
        point["confidence"] = confidence
        point["detected"] = detected
        point["crop_px"] = np.array([left, top, left + side, top + side], np.float32) * self._px_scale
        self._carried.append((cut_square(frame.rgb, square, STRIP_SIDE_PX), point[()]))
        if detected:
            for picture, carried in self._carried:
                self._append(picture, carried)
            self._carried.clear()

    def add_face(self, frame: Frame, face: Detection) -> None:
        """Rate a face, and keep it if it is among the best, spread over time.

        Args:
            frame: The picture.
            face: In pixels of `frame`.
        """
        self._faces.append(crop_face(frame.rgb, face, pts_seconds=frame.pts_seconds))
        if len(self._faces) > FACES_KEPT:
            del self._faces[_least_telling(self._faces)]

    def full_sheets(self) -> list[tuple[str, Picture]]:
        """Take the sheets that are complete, with their file names."""
        return self._take_sheets(SHEET_PICTURES)

    def rest(self) -> list[tuple[str, Picture]]:
        """Take what has not been taken yet, complete or not."""
        return self._take_sheets(1)

    def points(self) -> NDArray[np.void]:
        """Times, boxes and crops so far: (N,) of POINT."""
        return self._points[: self._length]

    def face_crops(self) -> list[FaceCrop]:
        """The best faces so far, in order of time."""
        return list(self._faces)

    def _append(self, picture: Picture, point: NDArray[np.void]) -> None:
        if self._length == len(self._points):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
        self._points[self._length] = point
        self._length += 1
        self._unwritten.append(picture)

    def _take_sheets(self, at_least: int) -> list[tuple[str, Picture]]:
        taken = []
        while len(self._unwritten) >= at_least:
            sheet, self._unwritten = self._unwritten[:SHEET_PICTURES], self._unwritten[SHEET_PICTURES:]
            taken.append((f"strip-{self._sheets:05d}.jpg", np.concatenate(sheet)))
            self._sheets += 1
        return taken


def crop_face(picture: Picture, face: Detection, *, pts_seconds: float = 0.0) -> FaceCrop:
    """Cut one face out generously and rate it: what evidence and galleries keep.

    Args:
        picture: RGB, uint8, (H, W, 3).
        face: In pixels of `picture`.
        pts_seconds: When, in a clip.
    """
    assert face.landmarks_px is not None
    square = square_around(face.box_px, FACE_CONTEXT)
    size_px = min(square[2], LONGEST_FACE_SIDE_PX)
    scale = np.float32(size_px / square[2])
    corner = np.array(square[:2], np.float32)
    return FaceCrop(
        pts_seconds=pts_seconds,
        rgb=cut_square(picture, square, size_px),
        box_px=(face.box_px - np.tile(corner, 2)) * scale,
        landmarks_px=(face.landmarks_px - corner) * scale,
        quality=rate_face(picture, face.box_px, face.landmarks_px, face.confidence),
    )


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed have left: each holds a lock on its file for as long as it lives."""
    for partial in folder.glob(".*.partial"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


class EvidenceWriter:
    """A bundle being written; a context manager. Nothing appears under its name before `finish`."""

    def __init__(self, root: str, key: str) -> None:
        """Start a bundle.

        Args:
            root: Folder, a local path or fsspec url; made when it is absent.
            key: Digest of everything the bundle depends on; its name.

        Raises:
            BadInput: The folder cannot be written to.
        """
        self.uri = bundle_uri(root, key)
        self._filesystem, self._path = _locate(self.uri)
        try:
            self._filesystem.makedirs(self._filesystem._parent(self._path), exist_ok=True)
            folder = Path(self._path).parent if self._is_local() else None
            if folder is not None:
                _sweep(folder)
            handle, partial = tempfile.mkstemp(dir=folder, prefix=f".{key[:16]}.", suffix=".partial")
        except OSError as error:
            raise BadInput(f"{root}: evidence cannot be written there ({error}); name another folder") from error
        self._partial = Path(partial)
        self._file = os.fdopen(handle, "w+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What matters was synced by `finish`. On a full disk closing fails once more, and the file must still go.
        for each in (self._zip, self._file):
            with contextlib.suppress(OSError):
                each.close()
        if not (self._finished and self._is_local()):
            self._partial.unlink(missing_ok=True)

    def write_sheets(self, track_id: str, record: TrackRecord) -> None:
        """Move a running track's complete sheets from memory to the bundle."""
        for name, sheet in record.full_sheets():
            self._add(f"tracks/{track_id}/{name}", _encode(sheet, "JPEG", quality=_JPEG_QUALITY))

    def write_track(self, track_id: str, record: TrackRecord) -> None:
        """Write all that is left of a track that ended."""
        for name, sheet in record.rest():
            self._add(f"tracks/{track_id}/{name}", _encode(sheet, "JPEG", quality=_JPEG_QUALITY))
        points = io.BytesIO()
        np.save(points, record.points(), allow_pickle=False)
        self._add(f"tracks/{track_id}/points.npy", points.getvalue())
        faces = []
        for number, crop in enumerate(record.face_crops()):
            name = f"face-{number:02d}.png"
            self._add(f"tracks/{track_id}/{name}", _encode(crop.rgb, "PNG"))
            faces.append(
                {
                    "pts_seconds": round(crop.pts_seconds, 6),
                    "file": name,
                    "box_px": np.round(crop.box_px.astype(float), 3).tolist(),
                    "landmarks_px": np.round(crop.landmarks_px.astype(float), 3).tolist(),
                    "quality": {part: round(value, 6) for part, value in asdict(crop.quality).items()},
                }
            )
        self._add(f"tracks/{track_id}/faces.json", canonical_json(faces))

    def finish(self, meta: dict[str, Any]) -> EvidenceRef:
        """Complete the bundle and let it appear under its name, all at once.

        Args:
            meta: Becomes meta.json.

        Raises:
            BadInput: The bundle cannot be stored.
        """
        self._add("meta.json", canonical_json(meta))
        self._zip.close()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.seek(0)
            digest = hashlib.file_digest(self._file, "sha256").hexdigest()
            if self._is_local():
                self._partial.replace(self._path)
            else:
                self._filesystem.put_file(str(self._partial), self._path)
        except OSError as error:
            raise BadInput(
                f"{self.uri}: evidence cannot be stored ({error}); free space or name another folder"
            ) from error
        self._finished = True
        return EvidenceRef(uri=self.uri, sha256=digest)

    def _add(self, name: str, data: bytes) -> None:
        member = zipfile.ZipInfo(name, _ZIP_EPOCH)
        member.external_attr = 0o644 << 16
        member.create_system = 3
        try:
            self._zip.writestr(member, data)
        except OSError as error:
            raise BadInput(
                f"{self.uri}: evidence cannot be written ({error}); free space or name another folder"
            ) from error

    def _is_local(self) -> bool:
        return isinstance(self._filesystem, LocalFileSystem)


def bundle_uri(root: str, key: str) -> str:
    """The url of the bundle of that key: absolute, with its scheme."""
    if "://" not in root:
        root = Path(root).expanduser().absolute().as_uri()
    return f"{root.rstrip('/')}/{key}.zip"


def evidence_key(depends_on: dict[str, Any]) -> str:
    """Digest of everything a bundle's content depends on."""
    return hashlib.sha256(canonical_json(depends_on)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _least_telling(faces: list[FaceCrop]) -> int:
    """The face to let go: low in quality, or with others close before and after it. `faces` is in order of time."""
    times = [-np.inf, *(face.pts_seconds for face in faces), np.inf]
    spreads = [min(1.0, (after - before) / _SPREAD_SECONDS) for before, after in zip(times, times[2:], strict=False)]
    # Even worthless faces are spread: none is then let go for its place in the list.
    worths = [(face.quality.overall + 0.1) * (0.5 + 0.5 * spread) for face, spread in zip(faces, spreads, strict=True)]
    return int(np.argmin(worths))


def _locate(uri: str) -> tuple[Any, str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise BadInput(f"{uri}: no place for evidence ({error}); use a folder or a file:// url") from error
    return filesystem, path


def _encode(picture: Picture, image_format: str, **options: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, image_format, **options)
    return data.getvalue()
