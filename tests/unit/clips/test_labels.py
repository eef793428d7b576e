import pytest

from services.contracts.errors import BadInput
from training.clips.labels import FOLDER, map_labels, read_label_space
from training.clips.manifest import LabelledSpan


def span(source, *actions):
    return LabelledSpan(clip="a.mp4", actions=actions, group="g", source=source, licence="MIT")


def test_shipped_label_spaces_can_be_read():
    assert {path.stem for path in FOLDER.glob("*.toml")} == {"fights", "interactions"}
    for path in FOLDER.glob("*.toml"):
        assert read_label_space(path.stem).actions


def test_sets_are_merged_by_what_the_file_says():
    mapped = map_labels([span("ut_interaction", "kick", "hug"), span("fights", "fight")], read_label_space("fights"))
    assert [one.actions for one in mapped] == [("fight", "no_fight"), ("fight",)]


def test_an_action_left_out_on_purpose_drops_its_spans(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('actions = ["hug"]\n[names.hmdb51]\nhug = "hug"\nchew = ""\n')
    space = read_label_space(path)
    assert [one.actions for one in map_labels([span("hmdb51", "chew"), span("hmdb51", "hug")], space)] == [("hug",)]


def test_an_action_nobody_named_is_refused(tmp_path):
    with pytest.raises(BadInput, match="ucf101: 'Archery'"):
        map_labels([span("ucf101", "Archery")], read_label_space("interactions"))


def test_a_mapping_to_an_unlisted_action_is_refused(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('actions = ["hug"]\n[names.hmdb51]\nhug = "cuddle"\n')
    with pytest.raises(BadInput, match="cuddle"):
        read_label_space(path)


def test_an_unknown_label_space_names_the_known_ones():
    with pytest.raises(BadInput, match="fights, interactions"):
        read_label_space("kinetics900")
