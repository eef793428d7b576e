import pytest

from services.contracts.errors import BadInput
from training.clips.labels import FOLDER, join_overlaps, map_labels, read_label_space
from training.clips.manifest import LabelledSpan


def span(source, *actions):
    return LabelledSpan(clip="a.mp4", actions=actions, group="g", source=source, licence="MIT")


def test_shipped_label_spaces_can_be_read():
    assert {path.stem for path in FOLDER.glob("*.toml")} == {"ava", "fights", "interactions"}
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
    with pytest.raises(BadInput, match="ava, fights, interactions"):
        read_label_space("kinetics900")


def test_actions_overlap_only_where_the_file_says_so():
    assert read_label_space("fights").exclusive
    ava = read_label_space("ava")
    assert not ava.exclusive
    assert len(ava.names["ava"]) == 80
    (both,) = map_labels([span("ava", "stand", "answer phone", "dance")], ava)
    assert both.actions == ("phone", "stand")


def test_spans_of_one_person_at_one_time_share_their_actions():
    def of(action, start, end, who="a", clip="a.mp4"):
        times = {"start_seconds": start, "end_seconds": end, "subject_id": who}
        return span("drawn", action).model_copy(update={**times, "clip": clip})

    spans = [of("walk", 0, 10), of("phone", 5, 7), of("wave", 0, 5), of("sit", 0, 9, "b"), of("run", 0, 9, clip="b")]
    joined = [one.actions for one in join_overlaps(spans)]
    # Walking lasts ten seconds, of which half are waved through and two spent on the phone.
    assert joined == [("walk", "wave"), ("phone", "walk"), ("walk", "wave"), ("sit",), ("run",)]
    endless = [of("walk", 0, None), of("wave", 3, None), of("fall", 1, 2)]
    assert [one.actions for one in join_overlaps(endless)] == [("walk", "wave"), ("walk", "wave"), ("fall", "walk")]
