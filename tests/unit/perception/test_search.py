from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.perception.detect import PersonDetector, Region
from services.perception.detection import Boxes
from services.perception.frame import Frame, Picture
from services.perception.search import PersonSearch


class Looks(PersonDetector):
    """Notes where it is asked to look, and finds what it is told to."""

    minimum_confidence = 0.4

    def __init__(self, boxes: list[list[float]], confidences: list[float]) -> None:
        self.asked: list[list[Region]] = []
        self._found = np.array(boxes, np.float32).reshape(-1, 4), np.array(confidences, np.float32)

    def detect(self, picture: Picture, regions: Sequence[Region], at_least: float) -> tuple[Boxes, NDArray[np.float32]]:
        self.asked.append(list(regions))
        return self._found


def frame(seconds: float) -> Frame:
    return Frame(np.zeros((720, 1280, 3), np.uint8), seconds)


def box(*edges: float) -> NDArray[np.float32]:
    return np.array(edges, np.float32)


def test_everywhere_is_searched_now_and_then() -> None:
    looks = Looks([], [])
    search = PersonSearch(looks, 1280, 720)
    for k in range(40):
        search.find(frame(k / 10), {})
    searched = [regions for regions in looks.asked if regions]
    assert len(searched) == 8
    seen = np.zeros((720, 1280), bool)
    small = np.zeros((720, 1280), bool)
    for regions in searched:
        for left, top, right, bottom in regions:
            seen[top:bottom, left:right] = True
            small[top:bottom, left:right] |= bottom - top < 700
    assert seen.all()
    assert small.all(), "in four seconds the small tiles have been everywhere, too"


def test_everyone_followed_is_looked_at_whole_and_large_in_every_picture() -> None:
    people = {0: box(100, 300, 160, 460), 1: box(1000, 200, 1100, 480), 2: box(1120, 210, 1200, 470)}
    looks = Looks([person.tolist() for person in people.values()], [0.9, 0.9, 0.9])
    search = PersonSearch(looks, 1280, 720)
    search.find(frame(0), people)
    search.find(frame(0.1), people)
    regions = looks.asked[1]
    assert len(regions) == 2, "two who stand together share a look"
    for person in people.values():
        assert any(
            left <= person[0] and top <= person[1] and person[2] <= right and person[3] <= bottom
            and person[3] - person[1] >= 0.29 * (bottom - top)
            for left, top, right, bottom in regions
        )  # fmt: skip


def test_where_somebody_new_may_be_is_looked_at_at_once() -> None:
    looks = Looks([], [])
    search = PersonSearch(looks, 1280, 720)
    search.find(frame(0), {})
    search.find(frame(0.1), {}, [box(600, 200, 700, 460)])
    ((left, top, right, bottom),) = looks.asked[1]
    assert left <= 600
    assert top <= 200
    assert right >= 700
    assert bottom >= 460
    assert 0.29 * (bottom - top) <= 260


def test_what_several_looks_found_is_there_once() -> None:
    whole, again, upper = [100, 100, 200, 400], [103, 98, 203, 404], [104, 102, 196, 250]
    search = PersonSearch(Looks([again, whole, upper, [600, 100, 700, 400]], [0.8, 0.9, 0.5, 0.7]), 1280, 720)
    boxes, confidences = search.find(frame(0), {})
    assert boxes.tolist() == [whole, [600, 100, 700, 400]]
    assert confidences.tolist() == np.array([0.9, 0.7], np.float32).tolist()


class FoundBySqueezing(PersonDetector):
    """Finds one person lying, but only in a region of their own proportions."""

    minimum_confidence = 0.4
    lying = (300, 500, 600, 600)

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, picture: Picture, regions: Sequence[Region], at_least: float) -> tuple[Boxes, NDArray[np.float32]]:
        self.looks += len(regions)
        fits = any((right - left) > 2 * (bottom - top) for left, top, right, bottom in regions)
        return (
            np.array([self.lying] if fits else [], np.float32).reshape(-1, 4),
            np.array([0.7] if fits else [], np.float32),
        )


def test_whoever_is_missed_is_looked_for_closer_until_found() -> None:
    detector = FoundBySqueezing()
    search = PersonSearch(detector, 1280, 720)
    search.find(frame(0), {})
    before = detector.looks
    boxes, confidences = search.find(frame(0.1), {0: box(310, 500, 610, 600)})
    assert boxes.tolist() == [list(detector.lying)]
    assert confidences.tolist() == np.array([0.7], np.float32).tolist()
    assert detector.looks == before + 2, "the look that missed, and the one that did not"


def test_whoever_is_found_costs_one_look() -> None:
    person = box(100, 300, 160, 460)
    looks = Looks([person.tolist()], [0.9])
    search = PersonSearch(looks, 1280, 720)
    search.find(frame(0), {0: person})
    search.find(frame(0.1), {0: person})
    assert [len(regions) for regions in looks.asked[1:]] == [1]


def test_who_has_left_the_picture_is_not_looked_for() -> None:
    looks = Looks([], [])
    search = PersonSearch(looks, 1280, 720)
    search.find(frame(0), {})
    search.find(frame(0.1), {0: box(1270, 300, 1370, 600)})
    assert looks.asked[1:] == [[]]
