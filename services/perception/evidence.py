"""Evidence: what every later step needs of a clip, so that none of them decodes it again. The reading side.

One zip a clip, members stored as they are, readable with ordinary tools:

    meta.json                 clip, video, models, parameters, warnings, tracks
    tracks/ID/points.npy      one record a picture: time, box, confidence, detected, where the body was cut
    tracks/ID/faces.json      times, landmarks and quality of the best faces
    tracks/ID/face-NN.png     those faces, generous squares in native resolution, lossless
    tracks/ID/strip-NNNNN.jpg body crops, one below the other, 32 a sheet
"""

import contextlib
import hashlib
import io
import json
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import IO, Any, Self, overload

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from PIL import Image

from services.contracts.errors import BadInput
from services.perception.detection import Boxes
from services.perception.frame import Picture
from services.perception.quality import FaceQuality
from services.perception.track import Track

POINT = np.dtype(
    [
        ("pts_seconds", "<f8"),
        ("box_px", "<f4", (4,)),
        ("confidence", "<f4"),
        ("detected", "?"),
        ("crop_px", "<f4", (4,)),
    ]
)
STRIP_SIDE_PX = 128
SHEET_PICTURES = 32
_READ_BYTES = 1 << 20
# NumPy has Python parse an array's header, and Python before 3.11.8 does that in one thread only: two at once end in
# SystemError now and then. Source: github.com/python/cpython/issues/106905.
_HEADERS = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One of a track's best faces.

    Attributes:
        pts_seconds: When.
        rgb: uint8, (S, S, 3): a square of about twice the face, never enlarged.
        box_px: float32, (4,): the face in `rgb`.
        landmarks_px: float32, (5, 2): in `rgb`.
        quality: And its parts.
    """

    pts_seconds: float
    rgb: Picture
    box_px: NDArray[np.float32]
    landmarks_px: NDArray[np.float32]
    quality: FaceQuality


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A track's body crops in order of time.

    Attributes:
        track_id: Whose.
        pts_seconds: float64, (N,), growing.
        boxes_px: float32, (N, 4): the person, in pixels of the source picture.
        crops_px: float32, (N, 4): the square that was cut, in pixels of the source picture.
        pictures: N of uint8, (128, 128, 3); decoded as they are asked for.
    """

    track_id: str
    pts_seconds: NDArray[np.float64]
    boxes_px: Boxes
    crops_px: Boxes
    pictures: Sequence[Picture]

    def __post_init__(self) -> None:
        n = len(self.pts_seconds)
        if self.boxes_px.shape != (n, 4) or self.crops_px.shape != (n, 4) or len(self.pictures) != n:
            raise ValueError(
                f"strip {self.track_id}: {n} times, boxes {self.boxes_px.shape}, crops {self.crops_px.shape}, "
                f"{len(self.pictures)} pictures: expected as many of each"
            )

    def __len__(self) -> int:
        return len(self.pts_seconds)


class Evidence:
    """An opened bundle; a context manager.

    Attributes:
        meta: The parsed meta.json.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Read the contents list.

        Raises:
            BadInput: Not an evidence bundle.
        """
        self._name = name
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
            # Ours are stored as they are; a compressed member could unfold into more than memory holds.
            if any(member.compress_type != zipfile.ZIP_STORED for member in self._zip.infolist()):
                raise zipfile.BadZipFile("compressed members")
            self.meta: dict[str, Any] = json.loads(self._zip.read("meta.json"))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            file.close()
            raise BadInput(f"{name}: not an evidence bundle ({error}); analyse the clip again") from error
        # A sheet is decoded once for the dozens of windows that use its pictures.
        self._read_sheet = lru_cache(maxsize=4)(self._decode_sheet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of the pictures, which this and its cache would hold, each for the other, until Python
        looks for such circles: in a server megabytes a request."""
        self._read_sheet.cache_clear()
        self._zip.close()
        self._file.close()

    def track_ids(self) -> list[str]:
        """In order of appearance."""
        return [track["track_id"] for track in self.meta["tracks"]]

    def track(self, track_id: str) -> Track:
        """One track's boxes.

        Raises:
            BadInput: There is no such track.
        """
        points = self._points(track_id)
        return Track(
            track_id=track_id,
            pts_seconds=points["pts_seconds"],
            boxes_px=points["box_px"],
            confidence=points["confidence"],
            detected=points["detected"],
        )

    def tracks(self) -> list[Track]:
        """All tracks, in order of appearance."""
        return [self.track(track_id) for track_id in self.track_ids()]

    def faces(self, track_id: str) -> list[FaceCrop]:
        """A track's best faces, in order of time; may be empty.

        Raises:
            BadInput: There is no such track.
        """
        found = json.loads(self._member(track_id, "faces.json"))
        return [
            FaceCrop(
                pts_seconds=face["pts_seconds"],
                rgb=_decode_image(self._member(track_id, face["file"])),
                box_px=np.array(face["box_px"], np.float32),
                landmarks_px=np.array(face["landmarks_px"], np.float32),
                quality=FaceQuality(**face["quality"]),
            )
            for face in found
        ]

    def strip(self, track_id: str) -> Strip:
        """A track's body crops.

        Raises:
            BadInput: There is no such track.
        """
        points = self._points(track_id)
        return Strip(
            track_id=track_id,
            pts_seconds=points["pts_seconds"],
            boxes_px=points["box_px"],
            crops_px=points["crop_px"],
            pictures=_StripPictures(self, track_id, len(points)),
        )

    def strip_picture(self, track_id: str, index: int) -> Picture:
        """One body crop, (128, 128, 3)."""
        sheet, row = divmod(index, SHEET_PICTURES)
        return self._read_sheet(track_id, sheet)[row * STRIP_SIDE_PX : (row + 1) * STRIP_SIDE_PX]

    def _decode_sheet(self, track_id: str, sheet: int) -> Picture:
        return _decode_image(self._member(track_id, f"strip-{sheet:05d}.jpg"))

    def _points(self, track_id: str) -> NDArray[np.void]:
        content = io.BytesIO(self._member(track_id, "points.npy"))
        with _HEADERS:
            points: NDArray[np.void] = np.load(content, allow_pickle=False)
        return points

    def _member(self, track_id: str, file: str) -> bytes:
        try:
            return self._zip.read(f"tracks/{track_id}/{file}")
        except KeyError:
            raise BadInput(f"{self._name}: no {file} of track {track_id!r}; it has {self.track_ids()}") from None


class _StripPictures(Sequence[Picture]):
    """Decodes a strip's pictures when they are asked for."""

    def __init__(self, evidence: Evidence, track_id: str, length: int) -> None:
        self._evidence = evidence
        self._track_id = track_id
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"picture {index} of {self._length}")
        return self._evidence.strip_picture(self._track_id, index % self._length)


def open_evidence(uri: str, sha256: str) -> Evidence:
    """Open a bundle, once its bytes are proved to be the ones a message names.

    Args:
        uri: A local path, or any fsspec url. A remote bundle is copied to a temporary file.
        sha256: Of the whole file.

    Raises:
        BadInput: It is absent, or its bytes are others.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        source: IO[bytes] = filesystem.open(path, "rb")
    except (OSError, ValueError, ImportError) as error:
        raise BadInput(f"{uri}: evidence cannot be opened ({error}); analyse the clip again") from error
    # The very file whose digest is checked is the one read: no name is looked up twice.
    if isinstance(filesystem, LocalFileSystem):
        file, digest = source, _digest(source, None)
    else:
        with source, contextlib.ExitStack() as on_failure:
            file = on_failure.enter_context(tempfile.TemporaryFile())
            digest = _digest(source, file)
            on_failure.pop_all()
    if digest != sha256:
        file.close()
        raise BadInput(f"{uri}: evidence has sha256 {digest}, the message says {sha256}; analyse the clip again")
    file.seek(0)
    return Evidence(file, uri)


def read_bundle(uri: str) -> tuple[str, dict[str, Any]] | None:
    """A bundle's sha256 and meta.json; None where there is none, or one that is damaged.

    Every member's checksum is tried: a bundle to be used again must be whole.
    """
    try:
        with fsspec.open(uri, "rb") as file:
            digest = _digest(file, None)
            file.seek(0)
            with zipfile.ZipFile(file) as bundle:
                if bundle.testzip() is not None:
                    return None
                meta: dict[str, Any] = json.loads(bundle.read("meta.json"))
                return digest, meta
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None


def _digest(source: IO[bytes], copy: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while block := source.read(_READ_BYTES):
        digest.update(block)
        if copy is not None:
            copy.write(block)
    return digest.hexdigest()


def _decode_image(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
