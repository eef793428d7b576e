import csv
import io
import re

import numpy as np
import pytest

from services.contracts.action import Action
from services.reports.exports import ava_rows, mot_rows, vtt_cues
from services.reports.paths import BoxPath
from tests.unit.reports.analyses import UNKNOWN, analysis_of, match


def moving_right(start: float, end: float, step: float = 0.2) -> BoxPath:
    """100 px a second from x = 100, 50 px wide, y from 72 to 360."""
    seconds = np.arange(start, end + 1e-9, step)
    left = 100 + 100 * (seconds - start)
    boxes = np.stack([left, np.full_like(left, 72), left + 50, np.full_like(left, 360)], axis=1)
    return BoxPath(seconds, boxes, np.full(len(seconds), 0.8))


def test_ava_is_at_whole_seconds_from_the_top_left() -> None:
    analysis = analysis_of([(match("ana"), 0, 6, [("walk", 0.5, 3.0, 0.8)])], size_px=(1000, 720))
    rows = list(
        csv.reader(
            io.StringIO(ava_rows(analysis.events, analysis.video, {"1": 1}, {"1": moving_right(0, 6)}, "yard, east"))
        )
    )
    assert rows == [
        ["yard, east", "0001", "0.200", "0.100", "0.250", "0.500", "walk", "1"],
        ["yard, east", "0002", "0.300", "0.100", "0.350", "0.500", "walk", "1"],
    ]


def test_ava_has_no_row_where_nobody_was_seen() -> None:
    gone = BoxPath(np.array([0.0, 5.0]), np.tile([0.0, 0, 9, 9], (2, 1)), np.ones(2))
    analysis = analysis_of([(match("ana"), 0, 6, [("walk", 0, 6, 0.8)])])
    rows = list(csv.reader(io.StringIO(ava_rows(analysis.events, analysis.video, {"1": 1}, {"1": gone}, "yard"))))
    assert [row[1] for row in rows] == ["0000", "0005"]


def test_mot_has_every_frame_from_first_to_last_detection() -> None:
    analysis = analysis_of([(match("ana"), 0.4, 2, []), (UNKNOWN, 0, 1, [])], seconds=3, rate_fps=25)
    paths = {"1": moving_right(0.4, 2.0), "2": moving_right(0, 1)}
    rows = [line.rstrip("\n").split(",") for line in mot_rows(analysis, paths)]
    assert all(len(row) == 10 and row[7:] == ["-1", "-1", "-1"] for row in rows)
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)
    assert [int(row[0]) for row in rows if row[1] == "1"] == list(range(11, 52))
    assert [int(row[0]) for row in rows if row[1] == "2"] == list(range(1, 27))
    frame_12 = next(row for row in rows if row[:2] == ["12", "1"])
    assert [float(value) for value in frame_12[2:7]] == pytest.approx([104, 72, 50, 288, 0.8])


def test_mot_survives_thirds() -> None:
    rate = 30000 / 1001
    seconds = np.arange(0, 60) / rate
    path = BoxPath(np.round(seconds, 6), np.tile([0.0, 0, 9, 9], (60, 1)), np.ones(60))
    analysis = analysis_of([(UNKNOWN, 0, 2, [])], seconds=60 / rate, rate_fps=rate)
    assert len(list(mot_rows(analysis, {"1": path}))) == 60


def test_vtt_is_what_a_parser_expects() -> None:
    name = "a --> b\n\n<b>&co"
    deeds = [("sit_down", 0.5, 2.0004, 0.8), ("walk", 3599.9996, 3700.25, 0.9)]
    text = vtt_cues(analysis_of([(match(name), 0, 3700, deeds)], seconds=4000).events, lambda event: name)
    header, *cues = text.split("\n\n")
    assert header == "WEBVTT"
    assert len(cues) == 2
    parsed = []
    for cue in cues:
        identifier, times, words = cue.rstrip("\n").split("\n")
        assert "-->" not in identifier
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}", times)
        parsed.append((times, words))
    assert parsed == [
        ("00:00:00.500 --> 00:00:02.000", "a --&gt; b &lt;b&gt;&amp;co: sit down"),
        ("01:00:00.000 --> 01:01:40.250", "a --&gt; b &lt;b&gt;&amp;co: walk"),
    ]


def test_vtt_says_what_an_action_was_part_of() -> None:
    deeds = [("walk", 0.0, 2.0, 0.8), ("fall_and_lie", 2.0, 9.0, 0.8)]
    events = [
        event.model_copy(update={"behaviour": Action(name="fall_and_lie", probability=0.7)})
        for event in analysis_of([(match("ada"), 0, 9, deeds)], seconds=10).events
    ]
    text = vtt_cues(events, lambda event: "ada")
    # What stands for itself is not said twice.
    assert "ada: walk (fall and lie)\n" in text
    assert "ada: fall and lie\n" in text


def test_vtt_without_events_is_still_a_file() -> None:
    assert vtt_cues([], str).startswith("WEBVTT\n")


def test_boxes_between_detections() -> None:
    path = BoxPath(np.array([1.0, 2.0, 4.0]), np.array([[0.0] * 4, [10.0] * 4, [30.0] * 4]), np.array([0.5, 1.0, 1.0]))
    in_view, values = path.interpolate(np.array([0.9, 1.0, 1.25, 2.0, 3.0, 4.0, 4.1]))
    assert in_view.tolist() == [False, True, True, True, False, True, False]
    assert values[2].tolist() == [2.5, 2.5, 2.5, 2.5, 0.625]


def test_no_detections_no_boxes() -> None:
    empty = BoxPath(np.zeros(0), np.zeros((0, 4)), np.zeros(0))
    assert not empty.interpolate(np.array([0.0, 1.0]))[0].any()
