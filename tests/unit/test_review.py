from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.archive.store import Archive
from services.client import refer_to_clip
from services.contracts.errors import BadUsage
from services.contracts.events import Analysis
from services.perception.encode import write_mp4
from services.perception.frame import Frame
from services.review import FRAMES, write_review
from tests.unit.reports.analyses import UNKNOWN, analysis_of, match
from tests.unit.reports.bundles import write_bundle

WIDTH_PX, HEIGHT_PX = 640, 360
ANA = (80.0, 100.0, 180.0, 340.0)
STRANGER = (400.0, 100.0, 500.0, 340.0)
FACE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def detail(picture: np.ndarray, box: tuple[float, ...]) -> float:
    """Mean difference between neighbours, inside a box."""
    left, top, right, bottom = (round(side) for side in box)
    return float(np.abs(np.diff(picture[top:bottom, left:right].astype(np.int16), axis=1)).mean())


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Noise everywhere: whatever is not hidden shows it."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    path = tmp_path / "yard.mp4"
    write_mp4((Frame(noise, k / 10) for k in range(30)), path, quality_crf=5)
    return path


def record(clip: Path, folder: Path, *, in_front: bool = False) -> tuple[Archive, Analysis]:
    people = [(match("ana"), 0.0, 3.0, [("wave", 0.5, 2.5, 0.8)]), (UNKNOWN, 0.0, 3.0, [("walk", 0.5, 2.5, 0.8)])]
    analysis = analysis_of(people, seconds=3, size_px=(WIDTH_PX, HEIGHT_PX), rate_fps=10)
    stranger = (130.0, 100.0, 230.0, 340.0) if in_front else STRANGER
    times = np.arange(0, 3, 0.1)
    boxes = {"1": (times, np.tile(ANA, (30, 1))), "2": (times, np.tile(stranger, (30, 1)))}
    evidence = write_bundle(folder / "bundle.zip", boxes, {"1": FACE, "2": FACE})
    reference = refer_to_clip(clip)
    provenance = analysis.provenance.model_copy(update={"evidence_sha256": evidence.sha256})
    events = tuple(
        event.model_copy(update={"clip_id": reference.clip_id, "provenance": provenance}) for event in analysis.events
    )
    update = {"clip": reference, "evidence": evidence, "provenance": provenance, "events": events}
    archive = Archive(folder / "archive.db")
    archive.record(analysis.model_copy(update=update))
    return archive, analysis


def test_frames_show_one_person_and_hide_everything_else(clip: Path, tmp_path: Path) -> None:
    archive, analysis = record(clip, tmp_path)
    (event,) = (event for event in analysis.events if event.identity.subject_id == "ana")
    written = write_review(archive.find_event(event.event_id), archive, tmp_path / "review")
    assert [path.name for path in written] == ["face.png", *(f"frame-{n}.png" for n in range(1, FRAMES + 1))]
    for path in written[1:]:
        picture = read(path)
        assert detail(picture, ANA) > 30
        assert detail(picture, STRANGER) < 5
        # Nobody was followed there, but somebody may stand there all the same.
        assert detail(picture, (540, 0, 640, 360)) < 5


def test_somebody_in_front_of_the_person_is_hidden_too(clip: Path, tmp_path: Path) -> None:
    archive, analysis = record(clip, tmp_path, in_front=True)
    (event,) = (event for event in analysis.events if event.identity.subject_id == "ana")
    picture = read(write_review(archive.find_event(event.event_id), archive, tmp_path / "review")[1])
    assert detail(picture, (85, 105, 115, 335)) > 30
    assert detail(picture, (135, 105, 175, 335)) < 5


def test_a_sheet_is_one_png(clip: Path, tmp_path: Path) -> None:
    archive, analysis = record(clip, tmp_path)
    (path,) = write_review(archive.find_event(analysis.events[0].event_id), archive, tmp_path / "new" / "event.png")
    with Image.open(path) as sheet:
        assert sheet.width > 1000
    with pytest.raises(BadUsage, match=r"ends in \.png"):
        write_review(archive.find_event(analysis.events[0].event_id), archive, clip)
