import json
from pathlib import Path

import pytest

from services.contracts.errors import BadInput, MissingModel
from training.datasets.manifests import read_manifest


def write(folder: Path, *actions: tuple[str, float, float]) -> None:
    acts = [{"name": name, "start_seconds": start, "end_seconds": end} for name, start, end in actions]
    person = {"subject_id": "ada", "actions": acts, "boxes_px": [None, [1, 2, 3, 4], None]}
    clip = {"file": "hall.mp4", "sha256": "0" * 64, "fps": 10.0, "people": [person]}
    (folder / "manifest.json").write_text(json.dumps({"actions": ["stand", "walk"], "clips": [clip]}))


def test_who_turns_while_walking_walks_on(tmp_path: Path) -> None:
    write(tmp_path, ("walk", 0, 2), ("walk", 2, 3.5), ("stand", 3.5, 5), ("walk", 5, 6))
    actions, (clip,) = read_manifest(tmp_path)
    assert actions == ("stand", "walk")
    assert [(each.action, each.start_seconds, each.end_seconds) for each in clip.happenings] == [
        ("walk", 0, 3.5),
        ("stand", 3.5, 5),
        ("walk", 5, 6),
    ]
    (ada,) = clip.people
    assert ada.pts_seconds.tolist() == [0.1]
    assert ada.boxes_px.tolist() == [[1, 2, 3, 4]]


def test_no_scenes_and_no_manifest_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="dvc pull"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"actions": ["stand"], "clips": [{"file": "a.mp4"}]}')
    with pytest.raises(BadInput, match=r"manifest\.json is not a manifest of scenes: clips\.0"):
        read_manifest(tmp_path)
