import pytest

from services.contracts.errors import BadInput
from training.clips.checks import validate
from training.clips.manifest import LabelledSpan, PersonBox, read_manifest, write_manifest

ACTIONS = ("hug", "kick")


def span(clip="clip.mp4", action="hug", group="g1", source="ut_interaction", **rest):
    return LabelledSpan(clip=clip, actions=(action,), group=group, source=source, licence="MIT", **rest)


def check(spans, folder, **rest):
    validate(spans, folder, actions=ACTIONS, window_seconds=2.0, **rest)


@pytest.fixture
def folder(write_clip):
    return write_clip().parent


def test_a_sound_manifest_passes_and_survives_its_file(folder, tmp_path):
    spans = [span(boxes=(PersonBox(seconds=0.5, box=(0.1, 0.1, 0.5, 0.9)),)), span(start_seconds=0.5, end_seconds=2.0)]
    check(spans, folder, sides={"train": ["g1"], "test": ["g2"]})
    write_manifest(tmp_path / "manifest.jsonl", spans)
    assert read_manifest(tmp_path / "manifest.jsonl") == spans


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (span(action="hugging"), "'hugging' is not in the label space"),
        (span(clip="absent.mp4"), "absent.mp4"),
        (span(boxes=(PersonBox(seconds=0, box=(10, 20, 50, 60)),)), "in pixels"),
        (span(boxes=(PersonBox(seconds=0, box=(0.5, 0.1, 0.2, 0.9)),)), "left < right"),
        (span(end_seconds=9.0), "ends at 9 s, but the clip lasts 1.9"),
        (span(start_seconds=0.0, end_seconds=0.5), "less than half a window"),
        (
            span(source="ava", boxes=(PersonBox(seconds=1.0, box=(0.1, 0.1, 0.5, 0.9)),)),
            "902 to 1798",
        ),
    ],
    ids=["label", "file", "pixels", "order", "end", "short", "origin"],
)
def test_a_fault_is_refused_with_its_row(folder, wrong, message):
    with pytest.raises(BadInput, match=message) as caught:
        check([span(), wrong], folder)
    assert "row 2" in str(caught.value)
    assert "row 1" not in str(caught.value)


def test_several_actions_at_once_need_a_label_space_in_which_they_overlap(folder):
    both = span().model_copy(update={"actions": ("hug", "kick")})
    check([span(), both], folder, exclusive=False)
    with pytest.raises(BadInput, match=r"row 2 \(clip.mp4\): hug and kick at once.*exclusive = false"):
        check([span(), both], folder)


def test_a_group_on_two_sides_is_refused(folder):
    with pytest.raises(BadInput, match="g1 is on both sides, train and test"):
        check([span()], folder, sides={"train": ["g1"], "test": ["g1"]})


def test_a_group_on_no_side_is_refused(folder):
    with pytest.raises(BadInput, match="g3 is on no side"):
        check([span(group="g3")], folder, sides={"train": ["g1"]})


def test_one_file_in_groups_on_two_sides_is_refused_with_both_rows(folder):
    with pytest.raises(BadInput, match=r"clip clip.mp4 is on several sides: train \(row 1\), test \(row 2\)"):
        check([span(group="g1"), span(group="g2")], folder, sides={"train": ["g1"], "test": ["g2"]})


def test_malformed_lines_of_a_manifest_are_named(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, [span()])
    with path.open("a") as file:
        file.write('{"clip": "a.mp4"}\n')
    with pytest.raises(BadInput, match="line 2"):
        read_manifest(path)
