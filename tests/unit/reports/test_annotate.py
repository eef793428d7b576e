import numpy as np
import pytest

from services.contracts.events import Analysis
from services.perception.frame import Frame, Picture
from services.reports.annotate import Annotator, bar_height_px, overlap, places_of
from services.reports.hiding import head_of
from services.reports.paths import BoxPath
from services.reports.people import gather_people
from services.reports.plate import Plate, draw_plate, rgb_of, spell
from tests.unit.reports.analyses import NOT_SURE, UNKNOWN, analysis_of, match

GREY = 90


def grey_frame(width_px: int = 640, height_px: int = 360) -> Frame:
    return Frame(np.full((height_px, width_px, 3), GREY, np.uint8), 1.0)


def still(*box: float) -> BoxPath:
    return BoxPath(np.array([0.5, 1.0, 1.5]), np.tile(np.array(box), (3, 1)), np.ones(3))


def analysis_with(*identities, size_px=(640, 360)) -> Analysis:
    people = [(identity, 0, 2, [("walk", 0, 2, 0.9)]) for identity in identities]
    return analysis_of(people, seconds=2, size_px=size_px)


def painted(picture: Picture) -> np.ndarray:
    return (picture != GREY).any(axis=2)


def test_box_and_plate_carry_the_persons_colour() -> None:
    analysis = analysis_with(match("ana"))
    picture = Annotator(analysis, {"1": still(300, 150, 360, 330)}).draw(grey_frame())
    colour = rgb_of(gather_people(analysis)[0].colour)
    in_colour = (picture[:360] == colour).all(axis=2)
    assert in_colour[151:329, 299:305].any(axis=1).all()  # left edge, unbroken
    assert in_colour[100:149].any()  # the plate's stripe, above the box
    assert not painted(picture[:360])[:, :290].any()


def test_input_frame_is_not_drawn_on() -> None:
    frame = grey_frame()
    Annotator(analysis_with(match("ana")), {"1": still(300, 150, 360, 330)}).draw(frame)
    assert (frame.rgb == GREY).all()


def test_plates_never_cover_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    plates_px = 0
    for _ in range(30):
        corners = generator.uniform([0, 0], [540, 200], (6, 2))
        boxes = np.concatenate([corners, corners + generator.uniform([30, 60], [100, 160], (6, 2))], axis=1)
        analysis = analysis_with(*[match(f"person-{k}") for k in range(6)])
        paths = {str(k + 1): still(*box) for k, box in enumerate(boxes)}
        whole = Annotator(analysis, paths).draw(grey_frame())
        with monkeypatch.context() as patch:
            patch.setattr(Annotator, "_lay_plates", lambda *_: None)
            only_boxes = Annotator(analysis, paths).draw(grey_frame())
        plates = (whole != only_boxes).any(axis=2)
        plates_px += plates.sum()
        for box in boxes:
            left, top, right, bottom = (round(side) for side in head_of(tuple(box.tolist())))
            assert not plates[top + 1 : bottom - 1, left + 1 : right - 1].any()
    assert plates_px > 30 * 1000


def test_plate_stays_in_the_picture() -> None:
    for box in ((0, 0, 60, 100), (600, 0, 640, 90), (0, 300, 50, 360), (0, 0, 640, 360)):
        places = [place for place in places_of(box, 120, 40, 640, 360) if place is not None]
        assert places
        assert all(x1 >= 0 and y1 >= 0 and x2 <= 640 and y2 <= 360 for x1, y1, x2, y2 in places)


def test_time_runs_below_the_picture() -> None:
    picture = Annotator(analysis_with(), {}).draw(grey_frame())
    assert (picture[:360] == GREY).all()
    assert picture.shape[0] == 360 + bar_height_px(640, 360)
    assert (picture[362 + 4 :, :120] == 255).all(axis=2).any()


def test_strangers_are_grey_and_doubt_is_dashed() -> None:
    analysis = analysis_with(UNKNOWN, NOT_SURE)
    for person in gather_people(analysis):
        red, green, blue = rgb_of(person.colour)
        assert max(red, green, blue) - min(red, green, blue) < 24
    picture = Annotator(analysis, {"1": still(60, 150, 160, 330), "2": still(400, 150, 500, 330)}).draw(grey_frame())
    solid, dashed = (rgb_of(person.colour) for person in gather_people(analysis))
    assert (picture[160:320, 61:64] == solid).all(axis=2).any(axis=1).all()
    assert not (picture[160:320, 401:404] == dashed).all(axis=2).any(axis=1).all()


@pytest.mark.parametrize(("width_px", "height_px"), [(16, 16), (240, 1280), (1280, 720), (33, 400)])
def test_any_size_of_picture(width_px: int, height_px: int) -> None:
    analysis = analysis_with(match("ana"), size_px=(width_px, height_px))
    path = still(width_px * 0.2, height_px * 0.3, width_px * 0.8, height_px)
    picture = Annotator(analysis, {"1": path}).draw(grey_frame(width_px, height_px))
    assert min(picture.shape[:2]) >= 240


def test_long_names_are_cut_to_fit() -> None:
    plate = draw_plate(Plate(("a" * 500, "walk 90%"), "#E69F00", 24, longest_px=300))
    assert plate.shape[1] < 330


def test_touching_is_not_overlapping() -> None:
    assert not overlap((0, 0, 10, 10), (10, 0, 20, 10))
    assert overlap((0, 0, 10, 10), (9, 9, 20, 20))


def fine_detail(picture: Picture) -> float:
    """Mean difference between neighbours: 85 in noise, next to nothing in blocks."""
    return float(np.abs(np.diff(picture.astype(np.int16), axis=1)).mean())


def noisy_frame(seconds: float = 1.0) -> Frame:
    return Frame(np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8), seconds)


@pytest.mark.parametrize("identity", [UNKNOWN, NOT_SURE])
def test_who_is_not_named_is_hidden_and_who_is_named_is_not(identity) -> None:
    analysis = analysis_with(match("ana"), identity)
    paths = {"1": still(60, 150, 160, 330), "2": still(400, 150, 500, 330)}
    picture = Annotator(analysis, paths).draw(noisy_frame())[:360]
    before = noisy_frame().rgb
    assert (picture[160:320, 70:150] == before[160:320, 70:150]).all()
    assert fine_detail(picture[160:320, 410:490]) < 5
    # Hair, hands and feet reach out of boxes.
    assert fine_detail(picture[139:149, 410:490]) < 20 or fine_detail(picture[331:338, 410:490]) < 20
    shown = Annotator(analysis, paths, show_strangers=True).draw(noisy_frame())[:360]
    assert (shown[160:320, 410:490] == before[160:320, 410:490]).all()


def test_strangers_are_hidden_before_they_are_found_and_while_they_are_lost() -> None:
    analysis = analysis_with(UNKNOWN)
    lost = BoxPath(np.array([1.0, 9.0]), np.array([[100.0, 150, 160, 330], [400.0, 150, 460, 330]]), np.ones(2))
    for seconds in (0.2, 1.0, 5.0, 9.9):
        hidden = Annotator(analysis, {"1": lost}).draw(noisy_frame(seconds))[:360]
        left = 405 if seconds > 9 else 105
        assert fine_detail(hidden[160:320, left : left + 50]) < 5, seconds
    assert (Annotator(analysis, {"1": lost}).draw(noisy_frame(10.5))[:360] == noisy_frame().rgb).all()


def test_names_in_other_scripts_are_spelt_and_never_boxes() -> None:
    assert spell("Zoë Иван Ωmega") == "Zoë Иван Ωmega"
    assert spell("张 wei") == "\\u5f20 wei"
    assert not np.array_equal(draw_plate(Plate(("张",), None, 24, 300)), draw_plate(Plate(("李",), None, 24, 300)))
