import hashlib
import json

from training.scenes import sets
from training.scenes.manifest import write_clip, write_manifest
from training.scenes.motion import ACTIONS
from training.scenes.subject import sample_subject


def test_no_subject_is_on_two_sides():
    train = {seed for cast in sets.TRAIN.casts for seed in cast}
    tested = {seed for clip_set in (sets.HELDOUT, sets.DEMO) for cast in clip_set.casts for seed in cast}
    assert not train & tested
    assert not set(sets.ENROLLED) & set(sets.STRANGERS)
    assert tested <= {*sets.ENROLLED, *sets.STRANGERS}
    assert not {*sets.TRAIN.seeds} & {*sets.HELDOUT.seeds, *sets.DEMO.seeds}


def test_a_seed_is_a_person():
    assert sample_subject(7) == sample_subject(7)
    assert len({sample_subject(seed).subject_id for seed in range(50)}) == 50


def test_a_clip_and_its_entry_are_the_same_bytes_twice_and_true_to_each_other(draw_scene, tmp_path):
    scene = draw_scene(seconds=2.0)
    entry = write_clip(scene, tmp_path / "a.mp4")
    again = write_clip(scene, tmp_path / "b.mp4")
    assert {**again, "file": "a.mp4"} == entry
    assert hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest() == entry["sha256"]
    assert entry["people"]
    for person in entry["people"]:
        assert len(person["boxes_px"]) == len(person["visible"]) == len(person["faces"]) == entry["frames"] == 10
        ends = [0.0]
        for action in person["actions"]:
            assert action["name"] in ACTIONS
            assert ends[-1] <= action["start_seconds"] < action["end_seconds"] <= entry["seconds"]
            ends.append(action["end_seconds"])
        for box in filter(None, person["boxes_px"]):
            assert 0 <= box[0] < box[2] <= entry["width_px"]
            assert 0 <= box[1] < box[3] <= entry["height_px"]
    manifest = json.loads(write_manifest(tmp_path, "test", [entry]).read_text())
    assert manifest["clips"] == [entry]
    assert manifest["actions"] == list(ACTIONS)
