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


def test_everybody_of_every_clip_is_told_apart(tmp_path: Path) -> None:
    def person(subject_id: str, action: str) -> dict[str, object]:
        acts = [{"name": action, "start_seconds": 0, "end_seconds": 1}]
        return {"subject_id": subject_id, "actions": acts, "boxes_px": [[1, 2, 3, 4], None, [5, 6, 7, 8]]}

    clips = [
        {"file": "hall.mp4", "sha256": "0" * 64, "fps": 10, "people": [person("ada", "walk"), person("bob", "walk")]},
        {"file": "yard.mp4", "sha256": "1" * 64, "fps": 5, "people": [person("ada", "stand")]},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"actions": ["stand", "walk"], "clips": clips}))
    _, (hall, yard) = read_manifest(tmp_path)
    assert (hall.path, yard.path) == (tmp_path / "hall.mp4", tmp_path / "yard.mp4")
    assert [(each.clip, each.subject_id, each.action) for each in hall.happenings + yard.happenings] == [
        ("hall", "ada", "walk"),
        ("hall", "bob", "walk"),
        ("yard", "ada", "stand"),
    ]
    assert [person.subject_id for person in hall.people] == ["ada", "bob"]
    assert hall.people[0].pts_seconds.tolist() == [0, 0.2]
    assert yard.people[0].pts_seconds.tolist() == [0, 0.4]
    assert yard.people[0].boxes_px.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_no_scenes_and_no_manifest_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="dvc pull"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"actions": ["stand"], "clips": [{"file": "a.mp4"}]}')
    with pytest.raises(BadInput, match=r"manifest\.json is not a manifest of scenes: clips\.0"):
        read_manifest(tmp_path)
