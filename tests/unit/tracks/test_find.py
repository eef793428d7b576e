"""The verb with drawn people and detectors that see colours: real decode, tracker and evidence, no network."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.access.sources import ClipSources, UriRefused
from services.contracts.card import Lineage, ModelCard, Weights
from services.contracts.clip import ClipRef
from services.contracts.errors import BadInput
from services.contracts.tracks import TracksRequest
from services.perception.detect import FaceDetector, PersonDetector
from services.perception.encode import write_mp4
from services.perception.evidence import open_evidence
from services.perception.frame import Frame
from services.tracks.find import Detectors, find_tracks


def card(task: Any) -> ModelCard:
    return ModelCard(
        name=f"fake-{task.replace('_', '-')}",
        version="1",
        task=task,
        description="Sees colours.",
        weights=Weights(file="none", sha256="0" * 64, size_bytes=1, format="onnx"),
        licence="CC0-1.0",
        lineage=Lineage(source="tests"),
        minimum_confidence=0.4,
    )


class SeesRed:
    """A person detector: the one red thing in the picture."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
        self.runs += 1
        (rgb,) = inputs
        red = (rgb[..., 0].astype(int) - rgb[..., 1]) > 80
        boxes, confidences = np.zeros((1, 100, 4), np.float32), np.zeros((1, 100), np.float32)
        if red.sum() > 20:
            rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
            edges = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
            boxes[0, 0], confidences[0, 0] = edges / 300, 0.9
        return {"detection_boxes:0": boxes, "detection_scores:0": confidences}


class SeesBlue:
    """A face detector: one face in the middle of what is blue."""

    def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
        n, _, height, width = inputs.shape
        maps = {name: np.zeros((n, channels, height // 4, width // 4), np.float32)
                for name, channels in (("heatmap", 1), ("scale", 2), ("offset", 2), ("landmarks", 10))}  # fmt: skip
        maps["landmarks"][:] = np.array([0.4, 0.3, 0.4, 0.7, 0.6, 0.5, 0.8, 0.35, 0.8, 0.65])[:, None, None]
        for index, picture in enumerate(inputs):
            blue = (picture[2] - picture[0]) > 80
            if blue.sum() > 10:
                rows, columns = np.nonzero(blue)
                row, column = int(rows.mean()) // 4, int(columns.mean()) // 4
                maps["heatmap"][index, 0, row, column] = 0.9
                sides = np.array([np.ptp(rows) + 1, np.ptp(columns) + 1])
                maps["scale"][index, :, row, column] = np.log(sides / 4)
        return maps


def walker(seconds: float = 3.0, fps: int = 20) -> list[Frame]:
    """A red body with a blue face walks to the right, out of nowhere at 0.5 s, hidden from 1.5 s to 1.9 s."""
    frames = []
    for k in range(round(seconds * fps)):
        rgb = np.full((240, 320, 3), 90, np.uint8)
        x = 40 + round(60 * k / fps)
        if k / fps >= 0.5 and not 1.5 <= k / fps < 1.9:
            rgb[60:200, x : x + 50] = (220, 30, 30)
            rgb[66:84, x + 16 : x + 34] = (30, 30, 220)
        frames.append(Frame(rgb, k / fps))
    return frames


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_mp4(walker(), path, quality_crf=8)
    return path


@pytest.fixture
def seeing() -> SeesRed:
    return SeesRed()


@pytest.fixture
def detectors(seeing: SeesRed) -> Detectors:
    return Detectors(PersonDetector(seeing, card("person_detection")), FaceDetector(SeesBlue(), card("face_detection")))


def refer(clip: Path) -> ClipRef:
    return ClipRef(clip_id=hashlib.sha256(clip.read_bytes()).hexdigest(), uri=clip.as_uri())


def test_one_walker_is_one_track_with_evidence(clip: Path, detectors: Detectors, tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    times: dict[str, float] = {}
    answer = find_tracks(
        TracksRequest(clip=refer(clip)),
        detectors,
        str(tmp_path / "evidence"),
        on_progress=lambda *step: told.append(step),
        on_times=times.update,
    )
    (track,) = answer.tracks
    assert track.track_id == "t1"
    assert 0.5 <= track.start_seconds <= 1.0
    assert track.end_seconds == pytest.approx(2.9, abs=0.11)
    assert track.faces > 2
    assert answer.video.frames == 30
    assert answer.video.end_seconds == pytest.approx(3.0, abs=0.01)
    assert answer.warnings == ()
    assert told[-1][0] == answer.clip.clip_id
    assert told[-1][1:] == pytest.approx((2.9, 3.0), abs=0.06)
    assert {"decode", "persons", "faces", "tracking", "evidence", "verify"} == times.keys()
    with open_evidence(answer.evidence.uri, answer.evidence.sha256) as evidence:
        (kept,) = evidence.tracks()
        for seconds, box, detected in zip(kept.pts_seconds, kept.boxes_px, kept.detected, strict=True):
            if detected:
                assert abs((box[0] + box[2]) / 2 - (65 + 60 * seconds)) < 12
        assert len(evidence.faces("t1")) == track.faces


def test_the_same_request_is_answered_from_the_bundle(
    clip: Path, detectors: Detectors, seeing: SeesRed, tmp_path: Path
) -> None:
    request = TracksRequest(clip=refer(clip))
    first = find_tracks(request, detectors, str(tmp_path / "evidence"))
    runs = seeing.runs
    assert find_tracks(request, detectors, str(tmp_path / "evidence")) == first
    assert seeing.runs == runs


def test_a_damaged_bundle_is_written_again(clip: Path, detectors: Detectors, tmp_path: Path) -> None:
    request = TracksRequest(clip=refer(clip))
    first = find_tracks(request, detectors, str(tmp_path / "evidence"))
    (bundle,) = (tmp_path / "evidence").iterdir()
    bundle.write_bytes(bundle.read_bytes()[:1000])
    assert find_tracks(request, detectors, str(tmp_path / "evidence")) == first


def test_another_span_is_another_bundle(clip: Path, detectors: Detectors, tmp_path: Path) -> None:
    root = str(tmp_path / "evidence")
    whole = find_tracks(TracksRequest(clip=refer(clip)), detectors, root)
    part = find_tracks(TracksRequest(clip=refer(clip), from_seconds=0.6, to_seconds=1.4), detectors, root)
    assert part.evidence != whole.evidence
    assert part.video.start_seconds == pytest.approx(0.6, abs=0.051)
    assert part.tracks[0].end_seconds < 1.4


def test_a_clip_of_one_frame_shows_its_people(detectors: Detectors, tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    write_mp4([Frame(walker()[20].rgb, 0.0)], path, quality_crf=8)
    answer = find_tracks(TracksRequest(clip=refer(path)), detectors, str(tmp_path / "evidence"))
    assert len(answer.tracks) == 1


def test_nobody_in_sight_is_an_answer(detectors: Detectors, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    write_mp4(walker()[:8], path)
    answer = find_tracks(TracksRequest(clip=refer(path)), detectors, str(tmp_path / "evidence"))
    assert answer.tracks == ()


def test_a_clip_that_is_not_the_one_named_is_refused(clip: Path, detectors: Detectors, tmp_path: Path) -> None:
    wrong = ClipRef(clip_id="f" * 64, uri=clip.as_uri())
    with pytest.raises(BadInput, match="f" * 64):
        find_tracks(TracksRequest(clip=wrong), detectors, str(tmp_path / "evidence"))


def test_a_clip_that_is_not_there_is_refused(detectors: Detectors, tmp_path: Path) -> None:
    gone = ClipRef(clip_id="0" * 64, uri="file:///nowhere/clip.mp4")
    with pytest.raises(BadInput, match="cannot be read"):
        find_tracks(TracksRequest(clip=gone), detectors, str(tmp_path))


def test_a_clip_from_elsewhere_than_the_listed_sources_is_refused(
    clip: Path, detectors: Detectors, tmp_path: Path
) -> None:
    sources = ClipSources.parse([str(tmp_path / "allowed")])
    with pytest.raises(UriRefused):
        find_tracks(TracksRequest(clip=refer(clip)), detectors, str(tmp_path / "evidence"), sources=sources)
    assert not (tmp_path / "evidence").exists()


def test_what_is_interrupted_leaves_nothing(clip: Path, detectors: Detectors, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_tracks(TracksRequest(clip=refer(clip)), detectors, str(tmp_path / "evidence"), on_progress=interrupt)
    assert list((tmp_path / "evidence").iterdir()) == []
