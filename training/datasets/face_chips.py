"""FaceChips: faces found, aligned and stored in shards, ready to learn from.

A chip is kept with a margin around what a network sees, so that turning and shifting it in training uncovers
real pixels and no invented edge.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.console import ProgressBars
from services.contracts.card import FaceChipSpec
from services.contracts.errors import BadInput, MissingModel
from services.perception.align import AlignmentFailed, align_face
from services.perception.detect import FaceDetector
from services.perception.detection import Detection
from services.perception.frame import Picture
from training.datasets.face_manifest import FaceRecord, number_subjects, open_picture, read_records, write_records

MARGIN_SHARE = 0.14
"""Of the chip's side, on each of its four sides."""
SHARD_SIZE = 2048
_DETECTION_SIDE_PX = 960
UNREADABLE, UNDETECTED = "unreadable", "undetected"


@dataclass(frozen=True, slots=True, eq=False)
class FaceChips:
    """N aligned faces.

    Attributes:
        records: N, with box and landmarks.
        pixels: (N, S, S, 3) uint8 RGB, in shards mapped from disk; S is the chip's side and both margins.
        chip_px: Side of the chip inside the margin.
        classes: (N,) int64, the subject's number in the order of their names.
        subjects: Their names.
    """

    records: Sequence[FaceRecord]
    pixels: Sequence[NDArray[np.uint8]]
    chip_px: int
    classes: NDArray[np.int64]
    subjects: Sequence[str]

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels of some faces: (len(rows), S, S, 3)."""
        starts = np.cumsum([0, *(len(shard) for shard in self.pixels)])
        shard_of_row = np.searchsorted(starts, rows, side="right") - 1
        picked = [self.pixels[shard][row - starts[shard]] for shard, row in zip(shard_of_row, rows, strict=True)]
        return np.stack(picked) if picked else np.zeros((0, *self.pixels[0].shape[1:]), np.uint8)

    def only(self, rows: NDArray[np.int64]) -> "FaceChips":
        """Some of the faces, held in memory, their subjects numbered anew."""
        records = [self.records[row] for row in rows]
        subjects, classes = number_subjects([record.subject_id for record in records])
        return FaceChips(records, [self.rows(rows)], self.chip_px, np.array(classes, np.int64), subjects)


def canvas_spec(chip: FaceChipSpec) -> FaceChipSpec:
    """How to cut a chip with its margin: the same scale, more around it."""
    margin_px = round(MARGIN_SHARE * chip.size_px)
    side_px = chip.size_px + 2 * margin_px
    shares = (np.array(chip.template) * chip.size_px + margin_px) / side_px
    template = tuple((float(x), float(y)) for x, y in shares)
    return chip.model_copy(update={"size_px": side_px, "template": template})


def prepare_chips(
    records: Sequence[FaceRecord], root: Path, folder: Path, detector: FaceDetector, chip: FaceChipSpec
) -> dict[str, list[str]]:
    """Find, align and store the face of every record, shard by shard; shards already whole are kept.

    Args:
        records: What the importers said.
        root: Their pictures lie under it.
        folder: Gets shard-NNNNN.npy, .jsonl and .skipped.json, and chip.json.
        detector: Finds the face, unless a record brings its landmarks.
        chip: Of the networks that will learn from it.

    Returns:
        Pictures left out, by reason: "unreadable" or "undetected".

    Raises:
        BadInput: The folder holds shards of other records or another chip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_other_work(folder / "chip.json", {"chip": chip.model_dump(mode="json"), "records": len(records)})
    skipped: dict[str, list[str]] = {UNREADABLE: [], UNDETECTED: []}
    with ProgressBars(unit="faces") as bars:
        for number, start in enumerate(range(0, len(records), SHARD_SIZE)):
            bars.advance_to("aligning", start, len(records))
            stem = folder / f"shard-{number:05d}"
            if not stem.with_suffix(".skipped.json").is_file():
                _prepare_shard(records[start : start + SHARD_SIZE], root, stem, detector, canvas_spec(chip))
            for reason, pictures in json.loads(stem.with_suffix(".skipped.json").read_text()).items():
                skipped[reason] += pictures
        bars.advance_to("aligning", len(records), len(records))
    return skipped


def load_chips(folder: Path) -> FaceChips:
    """Map prepared shards from disk.

    Raises:
        MissingModel: The folder holds none.
    """
    stems = sorted(path.with_suffix("") for path in folder.glob("shard-*.npy"))
    if not stems:
        raise MissingModel(f"no aligned faces in {folder}: run `python -m training.datasets.faces align --help`")
    records = [record for stem in stems for record in read_records(stem.with_suffix(".jsonl"))]
    subjects, classes = number_subjects([record.subject_id for record in records])
    return FaceChips(
        records=records,
        pixels=[np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False) for stem in stems],
        chip_px=json.loads((folder / "chip.json").read_text())["chip"]["size_px"],
        classes=np.array(classes, np.int64),
        subjects=subjects,
    )


def find_face(detector: FaceDetector, picture: Picture, box_px: Sequence[float] | None = None) -> Detection | None:
    """The face nearest the middle of the box, or of the picture without one; None where there is none."""
    faces = detector.detect(picture, _DETECTION_SIDE_PX)
    if not faces:
        return None
    frame_px = np.array(box_px if box_px is not None else (0, 0, *picture.shape[1::-1]), np.float64)
    centre_px = frame_px.reshape(2, 2).mean(axis=0)
    return min(faces, key=lambda face: float(np.linalg.norm(face.box_px.reshape(2, 2).mean(axis=0) - centre_px)))


def _prepare_shard(
    records: Sequence[FaceRecord], root: Path, stem: Path, detector: FaceDetector, canvas: FaceChipSpec
) -> None:
    kept: list[FaceRecord] = []
    pixels: list[Picture] = []
    skipped: dict[str, list[str]] = {UNREADABLE: [], UNDETECTED: []}
    for record in records:
        try:
            picture = open_picture(root, record.picture)
        except BadInput:
            skipped[UNREADABLE].append(record.picture)
            continue
        found = record if record.landmarks_px else _located(record, detector, picture)
        try:
            if found is None or found.landmarks_px is None:
                raise AlignmentFailed(f"no face in {record.picture}")
            pixels.append(align_face(picture, np.array(found.landmarks_px, np.float32), canvas).rgb)
        except AlignmentFailed:
            skipped[UNDETECTED].append(record.picture)
            continue
        kept.append(found)
    side_px = canvas.size_px
    np.save(stem.with_suffix(".npy"), np.stack(pixels) if pixels else np.zeros((0, side_px, side_px, 3), np.uint8))
    write_records(kept, stem.with_suffix(".jsonl"))
    # Written last: a shard without it was interrupted and is made again.
    stem.with_suffix(".skipped.json").write_text(json.dumps(skipped))


def _located(record: FaceRecord, detector: FaceDetector, picture: Picture) -> FaceRecord | None:
    face = find_face(detector, picture, record.box_px)
    if face is None or face.landmarks_px is None:
        return None
    box_px, points = face.box_px.tolist(), face.landmarks_px.tolist()
    return record.model_copy(update={"box_px": tuple(box_px), "landmarks_px": tuple((x, y) for x, y in points)})


def refuse_other_work(path: Path, work: Mapping[str, object]) -> None:
    """Write down what a folder is for, or find that it is for just that.

    Raises:
        BadInput: It is for something else.
    """
    if path.is_file() and json.loads(path.read_text()) != work:
        raise BadInput(f"{path.parent} holds the outcome of other inputs: choose another folder or empty it")
    path.write_text(json.dumps(work))
