import json

import numpy as np
import pytest
from PIL import Image

from services.contracts.card import FaceChipSpec
from services.contracts.errors import BadInput, MissingModel
from services.perception.detection import Detection
from tests.unit.datasets.faces import make_faces
from training.datasets import face_chips
from training.datasets.face_checks import check_faces
from training.datasets.face_chips import canvas_spec, load_chips, prepare_chips
from training.datasets.face_manifest import FaceRecord

CHIP = FaceChipSpec(
    size_px=50,
    template=((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)),
    channels="RGB",
    mean=(0, 0, 0),
    scale=1,
)


class FakeDetector:
    """Sees a face wherever the picture's first pixel is bright; counts what it was shown."""

    def __init__(self):
        self.shown = 0

    def detect(self, picture, longest_side_px):
        self.shown += 1
        if picture[0, 0, 0] < 128:
            return []
        points = np.array(CHIP.template, np.float32) * 40 + 10
        return [Detection("face", np.array([10, 10, 50, 50], np.float32), 0.9, points)]


@pytest.fixture
def records(tmp_path):
    records = []
    for index, shade in enumerate((200, 210, 50, 220, 230)):
        name = f"{index}.png"
        Image.fromarray(np.full((60, 60, 3), shade, np.uint8)).save(tmp_path / name)
        records.append(FaceRecord(subject_id=f"s{index // 2}", picture=name, source="t", licence="x"))
    (tmp_path / "torn.png").write_bytes(b"no")
    return [*records, FaceRecord(subject_id="s9", picture="torn.png", source="t", licence="x")]


def test_faces_are_found_aligned_and_mapped_back(tmp_path, records, monkeypatch):
    monkeypatch.setattr(face_chips, "SHARD_SIZE", 2)
    skipped = prepare_chips(records, tmp_path, tmp_path / "out", FakeDetector(), CHIP)
    assert skipped == {"unreadable": ["torn.png"], "undetected": ["2.png"]}
    faces = load_chips(tmp_path / "out")
    assert [record.picture for record in faces.records] == ["0.png", "1.png", "3.png", "4.png"]
    assert faces.records[0].landmarks_px is not None
    assert faces.rows(np.array([3, 0]))[:, 0, 0, 0].tolist() == [230, 200]
    assert (faces.subjects, faces.classes.tolist()) == (["s0", "s1", "s2"], [0, 0, 1, 2])


def test_an_interrupted_run_goes_on_with_the_missing_shards(tmp_path, records, monkeypatch):
    monkeypatch.setattr(face_chips, "SHARD_SIZE", 2)
    detector = FakeDetector()
    prepare_chips(records, tmp_path, tmp_path / "out", detector, CHIP)
    before = detector.shown
    (tmp_path / "out" / "shard-00001.skipped.json").unlink()
    prepare_chips(records, tmp_path, tmp_path / "out", detector, CHIP)
    assert detector.shown == before + 2
    assert len(load_chips(tmp_path / "out")) == 4


def test_landmarks_that_are_known_are_not_looked_for(tmp_path, records):
    detector = FakeDetector()
    known = records[0].model_copy(update={"landmarks_px": ((14, 28), (36, 28), (25, 36), (17, 43), (33, 43))})
    prepare_chips([known], tmp_path, tmp_path / "out", detector, CHIP)
    assert detector.shown == 0


def test_a_folder_of_other_faces_is_refused(tmp_path, records):
    prepare_chips(records, tmp_path, tmp_path / "out", FakeDetector(), CHIP)
    with pytest.raises(BadInput, match="other inputs"):
        prepare_chips(records[:2], tmp_path, tmp_path / "out", FakeDetector(), CHIP)
    with pytest.raises(MissingModel, match="no aligned faces"):
        load_chips(tmp_path)


def test_the_margin_leaves_the_chip_where_it_was():
    canvas = canvas_spec(CHIP)
    margin = (canvas.size_px - CHIP.size_px) / 2
    inside = np.array(canvas.template) * canvas.size_px - margin
    np.testing.assert_allclose(inside, np.array(CHIP.template) * CHIP.size_px, atol=1e-9)


def findings(**sides):
    return {finding.reason: finding.rows for finding in check_faces(sides, pictures_needed=2)}


def test_sound_faces_pass():
    assert findings(train=make_faces(seed=1), heldout=make_faces(seed=2, prefix="h")) == {}


def test_a_subject_on_two_sides_is_found_with_its_rows():
    train, heldout = make_faces(seed=1), make_faces(seed=2, subjects=1)
    ((reason, rows),) = findings(train=train, heldout=heldout).items()
    assert reason == "1 subject(s) on both train and heldout"
    assert "heldout: s00 s00/1.png" in rows
    assert len(rows) == 6


def test_a_lightly_changed_copy_under_another_name_is_found():
    train, heldout = make_faces(seed=1), make_faces(seed=2, prefix="h")
    copied = train.pixels[0][2].astype(int)
    heldout.pixels[1][0] = np.clip(copied * 0.95 + 4, 0, 255).astype(np.uint8)
    ((reason, rows),) = findings(train=train, heldout=heldout).items()
    assert reason == "1 near duplicate(s) across train and heldout"
    assert rows == ("train: s00/2.png = heldout: h01/5.png",)


def test_a_subject_too_few_pictures_for_the_loss_is_found():
    ((reason, rows),) = findings(train=make_faces(subjects=6, pictures=1)).items()
    assert reason.startswith("6 subject(s) with fewer than the 2 pictures")
    assert rows[0] == "train: s00 s00/0.png"


def test_what_was_left_out_is_on_record(tmp_path, records):
    prepare_chips(records, tmp_path, tmp_path / "out", FakeDetector(), CHIP)
    assert json.loads((tmp_path / "out" / "shard-00000.skipped.json").read_text())["undetected"] == ["2.png"]
