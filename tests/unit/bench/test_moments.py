import json

import pytest

from services.contracts.errors import BadInput, MissingModel
from training.bench.moments import Moments


def person(subject_id, *frames):
    """Frames of (box, visible share, yaw or None), or None for out of the frame."""
    return {
        "subject_id": subject_id,
        "actions": [],
        "boxes_px": [frame and list(frame[0]) for frame in frames],
        "visible": [frame[1] if frame else 0.0 for frame in frames],
        "faces": [{"yaw_rad": frame[2]} if frame and frame[2] is not None else None for frame in frames],
    }


def write(folder, *people):
    clip = {"file": "one.mp4", "fps": 10.0, "place": "hall", "people": people}
    (folder / "manifest.json").write_text(json.dumps({"clips": [clip]}))
    return Moments.read(folder)


def test_each_frame_has_its_own_factors(tmp_path):
    upright, lying, small = (0, 0, 100, 420), (0, 0, 300, 90), (0, 0, 40, 120)
    moments = write(tmp_path, person("ann", (upright, 1.0, -0.2), (lying, 0.6, 0.9), None, (small, 0.3, None)))

    def at(seconds):
        return {
            factor: value.split(":")[0].split(",")[0]
            for factor, value in moments.describe("one", "ann", seconds).items()
        }

    assert at(0.04) == {"distance": "near", "view": "facing", "hidden": "hardly", "place": "hall"}
    # Who lies is as near as who stands: the longer side counts.
    assert at(0.1) == {"distance": "between", "view": "turned", "hidden": "partly", "place": "hall"}
    assert at(0.2) == {}
    assert at(9.0) == {"distance": "far", "view": "no face to be seen", "hidden": "mostly", "place": "hall"}
    assert moments.describe("one", "bo", 0.0) == {}


def test_a_folder_without_scenes_is_refused(tmp_path):
    with pytest.raises(MissingModel, match="dvc pull"):
        Moments.read(tmp_path)
    (tmp_path / "manifest.json").write_text('{"clips": [{"file": "one.mp4", "fps": 10.0, "people": []}]}')
    with pytest.raises(BadInput, match=r"how people are seen: clips\.0\.place"):
        Moments.read(tmp_path)
