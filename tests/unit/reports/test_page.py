import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from services.console import print_events
from services.contracts.action import Toward
from services.contracts.events import Analysis
from services.perception.frame import Picture
from services.reports.page import MOST_ROWS, Face, render_page
from services.reports.portrait import BLOCKS
from services.reports.sentences import describe_action, join_words
from services.reports.timecode import format_clock
from tests.unit.reports.analyses import NOT_SURE, UNKNOWN, analysis_of, match

NOISE: Picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)


class Outline(HTMLParser):
    """Tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(analysis: Analysis, faces: dict[str, Face] | None = None, clip_name: str = "yard.mp4") -> Outline:
    return Outline(render_page(analysis, faces or {}, clip_name))


def portraits(page: Outline) -> list[Image.Image]:
    uris = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert all(uri.startswith("data:image/") for uri in uris)
    return [Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) for uri in uris]


def test_hostile_names_stay_text() -> None:
    name = "<script>alert(1)</script>"
    quoted = "\" onmouseover='alert(2)'"
    analysis = analysis_of([(match(name), 0, 6, [("walk", 0, 5, 0.8)]), (match(quoted), 0, 6, [])])
    page = page_of(analysis, {"1": Face(NOISE, 1), "2": Face(NOISE, 1)}, "<img src=x onerror=alert(3)>.mp4")
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert name in page.text
    assert quoted in page.text


def test_nothing_is_fetched() -> None:
    page = render_page(analysis_of([(match("ana"), 0, 6, [("walk", 0, 5, 0.8)])]), {"1": Face(NOISE, 1)}, "yard.mp4")
    assert not re.search(r"https?://|url\((?!#)|@import|<link|<iframe|<script", page)


@pytest.mark.parametrize("identity", [UNKNOWN, NOT_SURE])
def test_strangers_face_is_reduced_before_it_is_stored(identity) -> None:
    stored = portraits(page_of(analysis_of([(identity, 0, 6, [])]), {"1": Face(NOISE, 1)}))
    assert stored
    assert all(image.size == (BLOCKS, BLOCKS) for image in stored)


def test_strangers_face_is_shown_to_those_who_may_see_the_clip() -> None:
    analysis = analysis_of([(UNKNOWN, 0, 6, [])])
    page = Outline(render_page(analysis, {"1": Face(NOISE, 1)}, "yard.mp4", show_strangers=True))
    assert all(min(image.size) > 96 for image in portraits(page))
    assert "as they were recorded" in page.text


def test_tracks_of_one_name_are_one_person_and_the_others_are_tracks() -> None:
    people = [(match("ana"), 0, 2, []), (match("ana"), 3, 5, []), (match("ben"), 0, 5, [])]
    page = page_of(analysis_of([*people, (UNKNOWN, 0, 1, []), (UNKNOWN, 2, 4, []), (NOT_SURE, 4, 5, [])]))
    assert "2 people recognised, 3 other tracks" in page.text
    assert "ana, ben, 2 tracks of unknown people and 1 track we are not sure about" in page.text
    assert len([tag for tag, attributes in page.tags if attributes.get("class") == "who"]) == 5


def test_recognised_face_is_clear() -> None:
    stored = portraits(page_of(analysis_of([(match("ana"), 0, 6, [])]), {"1": Face(NOISE, 1)}))
    assert stored
    assert all(min(image.size) > 96 for image in stored)


def test_the_better_face_of_two_tracks_is_shown() -> None:
    black, white = (np.full((96, 96, 3), value, np.uint8) for value in (0, 255))
    analysis = analysis_of([(match("ana"), 0, 3, []), (match("ana"), 4, 6, [])])
    stored = portraits(page_of(analysis, {"1": Face(black, 0.2), "2": Face(white, 0.9)}))
    assert all(np.asarray(image).min() > 250 for image in stored)


def test_confidences_are_told_apart() -> None:
    page = page_of(analysis_of([(match("ana", 0.71), 0, 6, [("walk", 0, 5, 0.83)])]))
    for told in ("0.71", "0.52", "zoe 0.31", "83 %"):
        assert told in page.text
    assert "0.59" not in page.text  # 0.71 * 0.83


def test_whom_a_push_was_done_to_is_told_by_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    push = ("push", 1.0, 4.0, 0.9)
    people = [(match("ana"), 0, 6, [push]), (match("[red]bo[/red]"), 0, 6, [push]), (UNKNOWN, 0, 6, [])]
    analysis = analysis_of(people)
    toward = [Toward(track_id=other, share=0.9) for other in ("2", "3")]
    pushes = [event.model_copy(update={"toward": whom}) for event, whom in zip(analysis.events, toward, strict=True)]
    analysis = analysis.model_copy(update={"events": tuple(pushes)})
    page = page_of(analysis)
    assert "was pushing [red]bo[/red] 0:01.0" in page.text
    assert "was pushing unknown 0:01.0" in page.text
    assert "push → [red]bo[/red]" in page.text
    assert "push → unknown" in page.text
    monkeypatch.setenv("COLUMNS", "160")
    print_events("yard.mp4", analysis)
    table = capsys.readouterr().out
    assert "push → [red]bo[/red]" in table
    assert "push → unknown (3)" in table


def test_failure_comes_before_everything_it_spoils() -> None:
    page = page_of(
        analysis_of([(NOT_SURE, 0, 6, [])], failures={"action": "model cnn is absent"}, warnings=("cut short",))
    )
    assert page.text.index("model cnn is absent") < page.text.index("Timeline")
    assert page.text.index("cut short") < page.text.index("Timeline")
    assert "failed, said nothing" in page.text


def test_nobody_seen() -> None:
    assert "Nobody was seen" in page_of(analysis_of([])).text


def test_table_ends_and_says_so() -> None:
    deeds = [("walk", float(second), second + 1.0, 0.9) for second in range(MOST_ROWS + 5)]
    page = page_of(analysis_of([(match("ana"), 0, 600, deeds)], seconds=600))
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 5} events" in page.text


def test_bars_lie_on_the_strip() -> None:
    page = render_page(analysis_of([(match("ana"), 3, 9, [("walk", 3, 6, 0.8)])], seconds=12), {}, "yard.mp4")
    assert 'class="block" x="25.0%" y="2" width="25.0%"' in page


def test_same_analysis_same_page() -> None:
    analysis = analysis_of([(match("ana"), 0, 6, [("walk", 0, 5, 0.8)]), (UNKNOWN, 1, 3, [])])
    faces = {"1": Face(NOISE, 1), "2": Face(NOISE, 1)}
    assert render_page(analysis, faces, "yard.mp4") == render_page(analysis, faces, "yard.mp4")


@pytest.mark.parametrize(
    ("action", "doing"),
    [
        ("walk", "walking"), ("run", "running"), ("wave", "waving"), ("sit_down", "sitting down"), ("hit", "hitting"),
        ("fall", "falling"), ("push", "pushing"), ("lie", "lying"), ("swing", "swinging"), ("jumping", "jumping"),
        ("throw", "throwing"), ("wait", "waiting"),
    ],
)  # fmt: skip
def test_actions_in_words(action: str, doing: str) -> None:
    assert describe_action(action) == doing


def test_lists_in_words() -> None:
    assert [join_words(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (61.25, "1:01.2"), (3599.99, "1:00:00.0"), (7322, "2:02:02.0")],
)
def test_clock(seconds: float, clock: str) -> None:
    assert format_clock(seconds) == clock
