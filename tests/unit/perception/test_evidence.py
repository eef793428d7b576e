import errno
import gc
import hashlib
import time
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.contracts.errors import BadInput
from services.contracts.tracks import EvidenceRef
from services.perception.detection import Detection
from services.perception.evidence import SHEET_PICTURES, open_evidence, read_bundle
from services.perception.frame import Frame
from services.perception.recording import FACES_KEPT, EvidenceWriter, TrackRecord, evidence_key

KEY = "ab" * 32
LANDMARKS = np.array([[12, 10], [24, 10], [18, 17], [13, 24], [23, 24]], np.float32)


def picture(k: int) -> Frame:
    """A scene whose brightness says which one it is."""
    rgb = np.full((200, 300, 3), 20, np.uint8)
    rgb[40:160, 100:140] = 60 + k
    return Frame(rgb, k / 10)


def record(pictures: int = 80, px_scale: float = 2.0) -> TrackRecord:
    one = TrackRecord(px_scale)
    for k in range(pictures):
        one.add_body(picture(k), np.array([100, 40, 140, 160], np.float32), 0.9, detected=k not in (5, 6))
        if k % 4 == 0:
            at = np.array([100, 45], np.float32)
            box = np.concatenate([at, at + 36]).astype(np.float32)
            one.add_face(picture(k), Detection("face", box, 0.8, LANDMARKS + at))
    return one


def write(root: Path, one: TrackRecord | None = None) -> EvidenceRef:
    with EvidenceWriter(str(root), KEY) as writer:
        one = one or record()
        writer.write_sheets("t1", one)
        writer.write_track("t1", one)
        return writer.finish({"tracks": [{"track_id": "t1"}]})


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    reference = write(tmp_path)
    with open_evidence(reference.uri, reference.sha256) as evidence:
        (track,) = evidence.tracks()
        assert track.pts_seconds.tolist() == [k / 10 for k in range(80)]
        assert track.boxes_px[0].tolist() == [200, 80, 280, 320]
        assert np.flatnonzero(~track.detected).tolist() == [5, 6]
        strip = evidence.strip("t1")
        assert len(strip) == 80
        assert SHEET_PICTURES < 80, "the strip has several sheets"
        for k in (0, 31, 32, 79):
            assert strip.pictures[k].shape == (128, 128, 3)
            assert strip.pictures[k][64, 64].tolist() == pytest.approx([60 + k] * 3, abs=3)
        faces = evidence.faces("t1")
        assert len(faces) == FACES_KEPT
        assert [face.pts_seconds for face in faces] == sorted(face.pts_seconds for face in faces)
        # The landmarks lie in the crop where they lay in the picture.
        corner = faces[0].box_px[:2]
        np.testing.assert_allclose(faces[0].landmarks_px - corner, LANDMARKS, atol=0.01)


def test_a_closed_bundle_holds_no_picture(tmp_path: Path) -> None:
    """Without Python's collector, which comes when it likes: a server kept 50 MiB and more of them."""
    reference = write(tmp_path)
    gc.disable()
    try:
        with open_evidence(reference.uri, reference.sha256) as evidence:
            picture = evidence.strip("t1").pictures[0]
            sheet = weakref.ref(picture.base)
            del picture
            assert sheet() is not None, "it is kept for the next window"
        assert sheet() is None
    finally:
        gc.enable()


def test_one_thread_at_a_time_has_numpy_read_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once ended in SystemError in one of hundreds of requests (github.com/python/cpython/issues/106905)."""
    reference = write(tmp_path)
    load, inside, most = np.load, [0], [0]

    def watched(*arguments: Any, **options: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        inside[0] -= 1
        return load(*arguments, **options)

    monkeypatch.setattr(np, "load", watched)

    def read(_: int) -> int:
        with open_evidence(reference.uri, reference.sha256) as evidence:
            return len(evidence.strip("t1"))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, range(8))) == {80}
    assert most == [1]


def test_faces_kept_are_spread_over_the_track(tmp_path: Path) -> None:
    reference = write(tmp_path)
    with open_evidence(reference.uri, reference.sha256) as evidence:
        kept = [face.pts_seconds for face in evidence.faces("t1")]
    assert kept[0] < 1
    assert kept[-1] > 7
    assert np.diff(kept).max() < 1.7


def test_a_body_carried_over_after_the_last_detection_is_dropped() -> None:
    one = TrackRecord(1.0)
    for k in range(9):
        one.add_body(picture(k), np.array([100, 40, 140, 160], np.float32), 0.9, detected=k < 4)
    assert len(one) == 4


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert first.sha256 == second.sha256


def test_a_bundle_with_one_bit_changed_is_refused(tmp_path: Path) -> None:
    reference = write(tmp_path)
    path = tmp_path / f"{KEY}.zip"
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(BadInput, match="the message says"):
        open_evidence(reference.uri, reference.sha256)
    assert read_bundle(reference.uri) is None


def test_an_absent_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be opened"):
        open_evidence((tmp_path / "absent.zip").as_uri(), "0" * 64)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "x.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(BadInput, match="not an evidence bundle"):
        open_evidence(str(path), hashlib.sha256(b"no zip").hexdigest())


def test_an_unknown_track_is_refused(tmp_path: Path) -> None:
    reference = write(tmp_path)
    with open_evidence(reference.uri, reference.sha256) as evidence, pytest.raises(BadInput, match="t9"):
        evidence.track("t9")


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with EvidenceWriter(str(tmp_path), KEY) as writer:
            writer.write_track("t1", record())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    abandoned = tmp_path / ".0123456789abcdef.killed.partial"
    abandoned.write_bytes(b"faces")
    with EvidenceWriter(str(tmp_path), "a" * 64):
        assert not abandoned.exists()
        with EvidenceWriter(str(tmp_path), "b" * 64):
            assert len(list(tmp_path.glob(".*.partial"))) == 2


def test_remote_bundles_work_alike(tmp_path: Path) -> None:
    with EvidenceWriter("memory://bundles", KEY) as writer:
        writer.write_track("t1", record())
        reference = writer.finish({"tracks": [{"track_id": "t1"}]})
    with open_evidence(reference.uri, reference.sha256) as evidence:
        assert len(evidence.track("t1")) == 80


def test_a_record_holds_no_more_than_a_sheet_of_bodies(tmp_path: Path) -> None:
    one = TrackRecord(1.0)
    with EvidenceWriter(str(tmp_path), KEY) as writer:
        for k in range(150):
            one.add_body(picture(k % 100), np.array([100, 40, 140, 160], np.float32), 0.9, detected=True)
            writer.write_sheets("t1", one)
            assert len(one._unwritten) < SHEET_PICTURES
        assert sum(len(sheet) for _, sheet in one.rest()) / 128 == 150 % SHEET_PICTURES


def test_keys_depend_on_values_not_on_order() -> None:
    assert evidence_key({"a": 1, "b": 2.0}) == evidence_key({"b": 2.0, "a": 1})
    assert evidence_key({"a": 1}) != evidence_key({"a": 2})


def test_a_bundle_that_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk refuses the write, and then the buffered rest once more when the file is closed."""
    folder = tmp_path / "bundles"
    writer = EvidenceWriter(str(folder), "key")

    real = writer._file

    class Full:
        def close(self) -> None:
            real.close()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "_file", Full())
    with pytest.raises(RuntimeError, match="the fault"), writer:
        raise RuntimeError("the fault")
    assert list(folder.iterdir()) == []


def test_a_bundle_that_would_unfold_in_memory_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("meta.json", b" " * 10**7)
    with pytest.raises(BadInput, match="compressed members"):
        open_evidence(bomb.as_uri(), hashlib.sha256(bomb.read_bytes()).hexdigest())
