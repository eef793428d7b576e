import json

import pytest

from services.contracts.errors import BadInput
from training.clips.importers import (
    import_activitynet,
    import_ava,
    import_fights,
    import_hmdb51,
    import_kinetics,
    import_kth,
    import_ucf101,
    import_ut_interaction,
)


@pytest.fixture
def lay(tmp_path):
    """Makes empty files by relative path; importers read names and annotations, not pictures."""

    def make(*names, **texts):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        for name, text in texts.items():
            stem, _, suffix = name.rpartition("_")
            (tmp_path / f"{stem}.{suffix}").write_text(text)
        return tmp_path

    return make


def facts(spans):
    return [(span.clip, span.actions, span.group) for span in spans]


def test_kinetics_clips_are_found_by_id_and_times_and_absent_ones_left_out(lay):
    folder = lay(
        "hugging/abc_000010_000020.mp4",
        annotations_csv="label,youtube_id,time_start,time_end,split\nhugging,abc,10,20,train\nhugging,gone,1,11,train\n",
    )
    assert facts(import_kinetics(folder)) == [("hugging/abc_000010_000020.mp4", ("hugging",), "abc")]


def test_ucf101_groups_are_those_of_their_class(lay):
    folder = lay("Punch/v_Punch_g01_c01.avi", "Punch/v_Punch_g01_c02.avi", "HorseRiding/v_HorseRiding_g01_c01.avi")
    groups = {span.clip: span.group for span in import_ucf101(folder)}
    assert groups["Punch/v_Punch_g01_c01.avi"] == groups["Punch/v_Punch_g01_c02.avi"]
    assert groups["HorseRiding/v_HorseRiding_g01_c01.avi"] != groups["Punch/v_Punch_g01_c01.avi"]


def test_hmdb51_groups_are_films(lay):
    folder = lay("shake_hands/Big_Film_shake_hands_u_cm_np2_ri_med_3.avi")
    assert facts(import_hmdb51(folder))[0][1:] == (("shake_hands",), "Big_Film")


def test_kth_frames_count_from_one_and_the_last_is_included(lay):
    folder = lay(
        "boxing/person07_boxing_d2_uncomp.avi",
        **{"00sequences_txt": "person07_boxing_d2\t\tframes\t1-100, 126-150\n"},
    )
    spans = import_kth(folder)
    assert [(span.start_seconds, span.end_seconds) for span in spans] == [(0, 4), (5, 6)]
    assert {span.group for span in spans} == {"person07"}


AVA = "film,0902,0.1,0.2,0.5,0.9,1,7\nfilm,0902,0.1,0.2,0.5,0.9,2,7\nfilm,0903,0.1,0.2,0.5,0.9,2,7\n"


def test_ava_joins_the_actions_of_one_person_at_one_time(lay):
    folder = lay("film.mkv", ava_csv=AVA, actions_json=json.dumps({"1": "stand", "2": "talk"}))
    first, second = import_ava(folder)
    assert first.actions == ("stand", "talk")
    assert (first.start_seconds, first.end_seconds) == (901.5, 902.5)
    assert second.actions == ("talk",)
    assert first.subject_id == second.subject_id


def test_ava_ids_that_count_from_zero_are_refused(lay):
    folder = lay("film.mkv", ava_csv=AVA, actions_json=json.dumps({"0": "stand", "1": "talk"}))
    with pytest.raises(BadInput, match="count from 1"):
        import_ava(folder)


def test_ava_rows_with_unknown_ids_are_named(lay):
    folder = lay("film.mkv", ava_csv=AVA, actions_json=json.dumps({"1": "stand"}))
    with pytest.raises(BadInput, match=r"row 2.*row 3"):
        import_ava(folder)


def test_activitynet_segments_are_seconds(lay):
    database = {"abc": {"annotations": [{"label": "Punching", "segment": [1.5, 4.0]}]}, "gone": {"annotations": []}}
    folder = lay("v_abc.mp4", annotations_json=json.dumps({"database": database}))
    (span,) = import_activitynet(folder)
    assert (span.actions, span.start_seconds, span.end_seconds, span.group) == (("Punching",), 1.5, 4.0, "abc")


def test_ut_interaction_actions_count_from_zero_and_one_mans_sequences_go_together(lay):
    folder = lay("set1/0_1_4.avi", "set1/30_7_0.avi", "set1/40_8_5.avi")
    assert facts(import_ut_interaction(folder)) == [
        ("set1/0_1_4.avi", ("punch",), "seq1"),
        ("set1/30_7_0.avi", ("shake_hands",), "seq7+8"),
        ("set1/40_8_5.avi", ("push",), "seq7+8"),
    ]


def test_fights_take_sources_from_the_list_or_from_names(lay):
    folder = lay("fight/fi001.mp4", "noFight/street_3.mp4", "noFight/street_4.mp4")
    assert facts(import_fights(folder)) == [
        ("fight/fi001.mp4", ("fight",), "fi"),
        ("noFight/street_3.mp4", ("no_fight",), "street"),
        ("noFight/street_4.mp4", ("no_fight",), "street"),
    ]
    lay(clips_csv="clip,action,group\nfight/fi001.mp4,fight,g7\n")
    assert facts(import_fights(folder))[0] == ("fight/fi001.mp4", ("fight",), "g7")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (import_ucf101, "Punch/clip.avi"),
        (import_hmdb51, "hug/clip.avi"),
        (import_ut_interaction, "set1/1_1_6.avi"),
        (import_fights, "other/clip.avi"),
    ],
)
def test_a_clip_named_otherwise_is_refused_by_name(lay, read, name):
    with pytest.raises(BadInput, match=name.rpartition("/")[2]):
        read(lay(name))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no labelled clip"):
        import_ucf101(tmp_path)


def test_the_shared_sets_are_read_whole(shared_data):
    interactions = import_ut_interaction(shared_data / "actions" / "ut_interaction")
    assert len(interactions) == 60
    assert len({span.group for span in interactions}) == 9
    fights = import_fights(shared_data / "actions" / "surveillance_fight")
    assert (len(fights), len({span.group for span in fights})) == (195, 30)
