"""Importers: what lies in a folder, in the layouts face data sets come in, as records of one manifest.

None reads a pixel; finding and aligning faces is training.datasets.face_chips' work.
"""

import csv
import io
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from services.contracts.errors import BadInput
from training.datasets.face_manifest import FaceRecord

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".webp"})
_RECORD_MAGIC = 0xCED7230A
_IMAGE_HEADER = struct.Struct("<IfQQ")

Importer = Callable[[Path, str, str], Iterator[FaceRecord]]


def read_folders(root: Path, source: str, licence: str) -> Iterator[FaceRecord]:
    """A folder of pictures for each subject: CASIA-WebFace, VGGFace2, LFW, ORL and most others.

    Raises:
        BadInput: There is no picture in any folder.
    """
    found = False
    for path in sorted(root.glob("*/*")):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found = True
            yield _record(path.parent.name, path.relative_to(root).as_posix(), source, licence)
    if not found:
        raise BadInput(f"{root} holds no <subject>/<picture>: expected one folder for each subject")


def read_recordio(root: Path, source: str, licence: str) -> Iterator[FaceRecord]:
    """InsightFace's train.rec with its train.idx: MS1MV3, Glint360K and others. Pictures stay in the packed file.

    Raises:
        BadInput: A file is absent or not what its name says.

    Source: MXNet RecordIO (dmlc/recordio.h), image record header (mxnet.recordio.IRHeader).
    """
    try:
        rows = [line.split() for line in (root / "train.idx").read_text().splitlines()]
        offsets = {int(index): int(offset) for index, offset in rows}
        packed = (root / "train.rec").open("rb")
    except (OSError, ValueError) as fault:
        raise BadInput(f"{root} is not a RecordIO data set with train.rec and train.idx: {fault}") from fault
    with packed:
        # Record 0 is a header: its two numbers are the first identity's index and one past the last one's.
        _, labels, _, _ = _read_image_record(packed, offsets[0], root)
        last_picture = int(labels[0]) if len(labels) == 2 else len(offsets) + 1
        for index in sorted(offsets):
            if index == 0 or index >= last_picture:
                continue
            start, labels, length, _ = _read_image_record(packed, offsets[index], root)
            yield _record(f"{int(labels[0]):07d}", f"train.rec@{start}:{length}", source, licence)


def read_table(root: Path, source: str, licence: str) -> Iterator[FaceRecord]:
    """A faces.csv with the columns subject_id, picture and, where known, left, top, right, bottom and group:<name>.

    Raises:
        BadInput: It is absent, a column is missing, or a number is none.
    """
    path = root / "faces.csv"
    try:
        with path.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                yield _from_row(row, source, licence, f"{path}:{number}")
    except OSError as fault:
        raise BadInput(f"cannot read {path}: {fault.strerror}") from fault


IMPORTERS: Mapping[str, Importer] = {"folders": read_folders, "recordio": read_recordio, "table": read_table}


def read_lfw_pairs(path: Path) -> Iterator[tuple[str, str, str, bool]]:
    """LFW's pairs.txt as rows of (fold, picture, picture, same), for training.metrics.verification.

    Raises:
        BadInput: A line has neither three nor four fields.
    """
    lines = path.read_text().splitlines()
    header = lines[0].split()
    folds = int(header[0]) if len(header) == 2 else 1
    each = len(lines[1:]) // folds
    for number, line in enumerate(lines[1:]):
        fold = str(number // each + 1)
        match line.split("\t") if "\t" in line else line.split():
            case [name, one, other]:
                yield fold, _lfw_picture(name, one), _lfw_picture(name, other), True
            case [name, one, other_name, other]:
                yield fold, _lfw_picture(name, one), _lfw_picture(other_name, other), False
            case fields:
                raise BadInput(f"{path}:{number + 2}: {len(fields)} fields; a pair has three or four")


def read_pairs_bin(path: Path) -> Iterator[tuple[bytes, bytes, bool]]:
    """InsightFace's lfw.bin, cfp_fp.bin, agedb_30.bin: pairs of encoded pictures.

    The format is a pickle: it is read by an unpickler that knows lists, numbers and bytes and can run nothing.

    Raises:
        BadInput: The file holds anything else.
    """
    try:
        pictures, same = _DataOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        if len(pictures) != 2 * len(same) or not all(isinstance(picture, bytes) for picture in pictures):
            raise ValueError(f"{len(pictures)} pictures for {len(same)} pairs")
    except (pickle.UnpicklingError, OSError, ValueError, TypeError, EOFError) as fault:
        raise BadInput(f"{path} holds no pairs: {fault}") from fault
    for index, flag in enumerate(same):
        yield pictures[2 * index], pictures[2 * index + 1], bool(flag)


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; only lists, numbers and bytes are read")


def _read_image_record(file: io.BufferedReader, offset: int, root: Path) -> tuple[int, tuple[float, ...], int, int]:
    """Where a record's picture starts, its labels, the picture's length, and its id."""
    file.seek(offset)
    head = file.read(8)
    magic, sized = struct.unpack("<II", head) if len(head) == 8 else (0, 0)
    # The upper three bits say whether the record is split; only records that contain the magic number are.
    if magic != _RECORD_MAGIC or sized >> 29:
        raise BadInput(f"{root / 'train.rec'}: no whole record at byte {offset}")
    length = sized & (1 << 29) - 1
    flag, label, identifier, _ = _IMAGE_HEADER.unpack(file.read(_IMAGE_HEADER.size))
    labels = struct.unpack(f"<{flag}f", file.read(4 * flag)) if flag else (label,)
    used = _IMAGE_HEADER.size + 4 * flag
    return offset + 8 + used, labels, length - used, identifier


def _from_row(row: dict[str, str], source: str, licence: str, where: str) -> FaceRecord:
    if not row.get("subject_id") or not row.get("picture"):
        raise BadInput(f"{where}: subject_id or picture is missing")
    try:
        sides = [float(row[side]) for side in ("left", "top", "right", "bottom") if row.get(side)]
    except ValueError as fault:
        raise BadInput(f"{where}: {fault}") from fault
    box_px = (sides[0], sides[1], sides[2], sides[3]) if len(sides) == 4 else None
    groups = {name.removeprefix("group:"): value for name, value in row.items() if name.startswith("group:") and value}
    record = _record(row["subject_id"], row["picture"], source, licence)
    return record.model_copy(update={"box_px": box_px, "groups": groups})


def _record(subject: str, picture: str, source: str, licence: str) -> FaceRecord:
    # Subjects of different sources are different people as far as anyone knows.
    return FaceRecord(subject_id=f"{source}/{subject}", picture=picture, source=source, licence=licence)


def _lfw_picture(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
