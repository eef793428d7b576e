"""Tables of the action bench on made-up answers, and the whole of it on one small scene."""

import json

import numpy as np
import pytest

from services.action.recognize import ActionRecognizer
from services.contracts.action import Action, ActionSegment
from services.contracts.errors import BadInput, BadUsage
from services.models.store import ModelStore
from services.perception.track import Track
from services.tracks.find import Detectors
from tests.integration.scenes import render_scenes
from training.bench import action
from training.bench.action_scenes import (
    map_interval,
    perfect_calibration_error,
    tabulate_abstention,
    tabulate_confusion,
    tabulate_segments,
    tabulate_windows,
)
from training.bench.kept import keep_tables, recall_tables
from training.bench.moments import Moments
from training.bench.scene_answers import SceneAnswers, answer_scenes, list_truths, measure_following, place_segments
from training.bench.table import Bar, BenchTable
from training.config import read_config
from training.datasets.manifests import ClipTruth
from training.datasets.truth import PersonTruth
from training.datasets.windows import WindowSet
from training.metrics.detections import Segment, segment_map
from training.metrics.events import Happening

TIMES = np.arange(0, 10, 0.1)
BOXES = {"ann": (0, 0, 10, 20), "bo": (50, 0, 60, 20)}


def person(name, *deeds):
    boxes = np.tile(np.array(BOXES[name], np.float32), (len(TIMES), 1))
    return PersonTruth(name, TIMES, boxes, tuple(Happening("a", name, *deed) for deed in deeds))


def track(track_id, box):
    n = len(TIMES)
    return Track(track_id, TIMES, np.tile(np.array(box, np.float32), (n, 1)), np.ones(n, np.float32), np.ones(n, bool))


def said(track_id, name, start, end, probability=0.9):
    return ActionSegment(
        track_id=track_id, action=Action(name=name, probability=probability), start_seconds=start, end_seconds=end
    )


def windows_of(actions, clips, *, subjects=None):
    n = len(actions)
    return WindowSet(
        classes=np.array(["stand", "wave"]),
        pictures=np.zeros((1, 1, 1, 3), np.uint8),
        shown=np.zeros((n, 2), np.int32),
        motion=np.zeros((n, 2, 5), np.float32),
        actions=np.array(actions),
        subject_ids=np.array(subjects or ["ann"] * n),
        clips=np.array(clips),
        tracks=np.array(["1"] * n),
        starts_seconds=np.zeros(n),
        ends_seconds=np.ones(n),
    )


def answers_of(actions, right_chances, clips, *, temperature=1.0, subjects=None):
    """Every window says its true action (or the first) with that probability."""
    chance_N = np.array(right_chances)
    truth_N = np.maximum(actions, 0)
    probabilities = np.where(np.arange(2) == truth_N[:, None], chance_N[:, None], 1 - chance_N[:, None])
    return SceneAnswers(windows_of(actions, clips, subjects=subjects), probabilities, temperature, {}, {}, {}, {})


def test_two_people_who_do_the_same_do_not_answer_for_one_another():
    people = (person("ann", ("wave", 0.0, 5.0)), person("bo", ("wave", 0.0, 5.0)))
    truths = list_truths(ClipTruth(path=None, sha256="", people=people))
    on_ann = place_segments([said("1", "wave", 0.0, 5.0)], track("1", BOXES["ann"]), people, "a")
    again = place_segments([said("2", "wave", 0.0, 5.0, 0.8)], track("2", BOXES["ann"]), people, "a")
    on_bo = place_segments([said("3", "wave", 0.0, 5.0, 0.7)], track("3", BOXES["bo"]), people, "a")
    nowhere = place_segments([said("4", "wave", 0.0, 5.0)], track("4", (200, 0, 210, 20)), people, "a")
    assert segment_map(truths, [*on_ann, *again], minimum_iou=0.5) == pytest.approx(0.5)
    assert segment_map(truths, [*on_ann, *on_bo], minimum_iou=0.5) == pytest.approx(1.0)
    assert segment_map(truths, nowhere, minimum_iou=0.5) == 0


def test_time_in_which_nobody_is_followed_is_counted_once():
    clip = ClipTruth(
        None, "", (person("ann", ("wave", 0.0, 5.0), ("stand", 5.0, 10.0)), person("bo", ("wave", 0.0, 5.0)))
    )
    early = track("1", BOXES["ann"])
    half = Track("2", early.pts_seconds[25:50], early.boxes_px[25:50], early.confidence[25:50], early.detected[25:50])
    assert measure_following([half], clip) == [0.5, 0.0, 0.0]
    assert measure_following([half, early], clip) == [1.0, 1.0, 0.0]


def test_a_clip_drawn_twice_is_two_clips():
    truths = {clip: [Segment(f"{clip}/ann", "wave", 0.0, 5.0)] for clip in "abcd"}
    assert map_interval(truths, truths, draws=50) == (1.0, 1.0)
    half = truths | {"c": [], "d": []}
    low, high = map_interval(truths, half, draws=200)
    assert low < 0.5 < high


def test_segments_are_ranked_and_the_bar_is_on_the_mean():
    people = (person("ann", ("wave", 0.0, 4.0), ("stand", 4.0, 10.0)),)
    truths = list_truths(ClipTruth(path=None, sha256="", people=people))
    claims = place_segments(
        [said("1", "wave", 0.0, 2.5), said("1", "stand", 2.5, 10.0)], track("1", BOXES["ann"]), people, "a"
    )
    answers = answers_of([0], [1.0], ["a"])
    answers = SceneAnswers(
        answers.windows, answers.probabilities, 1.0, {"a": truths}, {"a": claims}, {"a": truths[:1]}, {"a": [1.0, 0.4]}
    )
    table = tabulate_segments(answers, "made up")
    rows = {row[0]: row[1:] for row in table.rows}
    # 2.5 of 4 seconds and 6 of 7.5: IoU 0.625 and 0.8.
    assert rows["wave"] == (1, 1, 1, 1.0, 1.0, 0.0, 1.0)
    assert rows["stand"] == (1, 0, 1, 1.0, 1.0, 1.0, 0.0)
    assert rows["mean"] == (2, 1, 2, 1.0, 1.0, 0.5, 0.5)
    assert table.bars[0].met
    nothing = SceneAnswers(
        answers.windows, answers.probabilities, 1.0, {"a": truths}, {"a": []}, {"a": []}, {"a": [0, 0]}
    )
    assert not tabulate_segments(nothing, "made up").bars[0].met


def test_windows_are_told_apart_by_how_a_person_is_seen(tmp_path):
    frame = {"boxes_px": [[0, 0, 100, 500]], "visible": [1.0], "faces": [None]}
    clips = [
        {"file": f"{stem}.mp4", "fps": 10.0, "place": place, "people": [{"subject_id": "ann", **frame}]}
        for stem, place in (("a", "hall"), ("b", "yard"))
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": clips}))
    named = [0] * 30 + [1] * 30
    answers = answers_of(
        [*named, -1, -1],
        [0.9] * 30 + [0.2] * 30 + [0.9, 0.9],
        ["a"] * 30 + ["b"] * 30 + ["a", "b"],
        subjects=["ann"] * 61 + [""],
    )
    table = tabulate_windows(answers, Moments.read(tmp_path), "made up")
    rows = {row[0]: row[1:4] for row in table.rows}
    assert rows["all"] == (60, 2, 0.5)
    assert rows["place hall"] == (30, 1, 1.0)
    assert rows["place yard"] == (30, 1, 0.0)
    assert rows["view no face to be seen"] == (60, 2, 0.5)
    assert not any("partly" in name for name in rows)
    assert "of 62 windows 60 have a name: 1 show nobody" in table.protocol
    assert not table.bars[0].met
    assert table.bars[0].measured == pytest.approx((0.1 + 0.8) / 2)

    shown = tabulate_confusion(answers, "made up")
    assert [row[:3] for row in shown.rows] == [("stand", 30, 0), ("wave", 30, 0)]
    assert shown.rows[0][3:] == (1.0, pytest.approx(2 / 3))


def test_the_least_sure_abstain_first():
    answers = answers_of([0] * 20, [0.9] * 18 + [0.45] * 2, ["a"] * 10 + ["b"] * 10)
    table = tabulate_abstention(answers, "made up")
    assert [row[2] for row in table.rows][:4] == pytest.approx([0.9, 18 / 19, 1.0, 1.0])
    assert table.bars[0].met
    sure_of_the_wrong = answers_of([0] * 20, [0.6] * 18 + [0.1] * 2, ["a"] * 20)
    assert not tabulate_abstention(sure_of_the_wrong, "made up").bars[0].met


def test_probabilities_before_calibration_are_those_at_temperature_one():
    logits = np.array([[2.0, 0.0], [-1.0, 0.5]])
    divided = np.exp(logits / 2.0)
    answers = SceneAnswers(
        windows_of([0, 1], ["a", "a"]), divided / divided.sum(axis=1, keepdims=True), 2.0, {}, {}, {}, {}
    )
    plain = np.exp(logits)
    np.testing.assert_allclose(answers.uncalibrated, plain / plain.sum(axis=1, keepdims=True))


def test_even_a_perfect_network_shows_some_error_on_few_answers():
    sure = np.tile([1.0, 0.0], (40, 1))
    assert perfect_calibration_error(sure, draws=5) == 0
    doubtful = np.tile([0.6, 0.4], (40, 1))
    few, many = (perfect_calibration_error(np.repeat(doubtful, times, axis=0), draws=50) for times in (1, 50))
    assert 0.03 < few < 0.1
    assert many < few / 4


def test_the_page_holds_the_latest_of_every_part(tmp_path, monkeypatch, capsys):
    def measure(name, options):
        assert name == "rendered"
        return [BenchTable("segments", "of today", "how", ("a", "b"), (("x", 0.5),), (Bar("b", 1, ">= 1", True),))]

    monkeypatch.setattr(action, "_measure", measure)
    monkeypatch.setattr(action, "NAMES", ("rendered", "cost"))
    old = BenchTable("cost", "of yesterday", "how", ("a",), (("y",),), (), ("remark",))
    keep_tables(tmp_path / "work" / "cost.json", [old])
    assert recall_tables(tmp_path / "work" / "cost.json") == [old]
    page = tmp_path / "docs" / "page.md"
    action.main(["rendered", "--work", str(tmp_path / "work"), "--markdown", str(page), "--json"])
    text = page.read_text()
    assert text.index("## of today") < text.index("## of yesterday")
    assert "measured at commit" in text
    assert [table["title"] for table in json.loads(capsys.readouterr().out)["tables"]] == ["of today"]


def test_an_unknown_part_is_refused():
    with pytest.raises(BadUsage, match="no part colour"):
        action.main(["colour"])


def test_a_small_scene_from_the_clip_to_its_tables(tmp_path, models):
    render_scenes(tmp_path / "scenes", [5])
    store = ModelStore(models)
    recognizer = ActionRecognizer.load(store, device="cpu")
    detectors = Detectors.load(store, device="cpu")
    answers = answer_scenes(
        recognizer,
        detectors,
        tmp_path / "scenes",
        read_config().prepare,
        tmp_path / "evidence",
        on_progress=lambda what, done, total: None,
    )
    assert len(answers.windows) == len(answers.probabilities) > 0
    assert answers.probabilities.sum(axis=1) == pytest.approx(np.ones(len(answers.windows)))
    (truths,) = answers.truths.values()
    assert {truth.clip for truth in truths} == {"scene-5/subject-00050", "scene-5/subject-00051"}
    (ideal,) = answers.ideal.values()
    # Whom the detectors follow is named rightly for as long as they do.
    assert segment_map(truths, ideal, minimum_iou=0.3) > 0
    card = recognizer.card.model_copy(update={"classes": tuple(f"{name}?" for name in recognizer.card.classes)})
    with pytest.raises(BadInput, match="does not know crouch"):
        answer_scenes(
            ActionRecognizer(card, recognizer.network),
            detectors,
            tmp_path / "scenes",
            read_config().prepare,
            tmp_path / "evidence",
            on_progress=lambda what, done, total: None,
        )
