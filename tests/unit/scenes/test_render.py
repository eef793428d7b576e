from dataclasses import replace

import numpy as np
import pytest

from training.scenes.render import RenderedFrame, render_frames
from training.scenes.script import Act, Part
from training.scenes.subject import sample_subject


@pytest.fixture(scope="module")
def frames(draw_scene) -> list[RenderedFrame]:
    return list(render_frames(draw_scene()))


def test_the_same_scene_gives_the_same_pixels_and_the_same_truth(draw_scene, frames):
    for first, second in zip(frames, render_frames(draw_scene()), strict=True):
        assert np.array_equal(first.rgb, second.rgb)
        assert first.people == second.people


def test_another_seed_gives_other_pixels(draw_scene, frames):
    other = next(render_frames(draw_scene(seed=6)))
    assert not np.array_equal(frames[0].rgb, other.rgb)


def standing(at_m: tuple[float, float], subject_seed: int = 60, heading_rad: float = np.pi) -> Part:
    act = Act("stand", 0.0, 1.0, at_m, at_m, heading_rad, 0.5)
    return Part(sample_subject(subject_seed), (act,))


def staged(draw_scene, *parts: Part):
    return replace(draw_scene(), parts=parts, seconds=0.2, noise_sigma=0.0)


def test_a_box_is_tight_around_the_pixels_its_person_changes(draw_scene):
    shown = next(render_frames(staged(draw_scene, standing((0.3, 6.0)))))
    # Far out of sight, so that the place is empty.
    empty = next(render_frames(staged(draw_scene, standing((90.0, 6.0)))))
    assert empty.people == (None,)
    x0, y0, x1, y1 = shown.people[0].box_px
    rows, columns = np.nonzero(np.abs(shown.rgb.astype(int) - empty.rgb).max(axis=-1) > 70)
    # A pixel of antialiasing on each side.
    assert x0 - 1 <= columns.min() <= x0 + 3
    assert x1 - 4 <= columns.max() <= x1
    assert y0 - 1 <= rows.min() <= y0 + 3
    # Dark shoes on a dark floor show less.
    assert rows.max() <= y1
    assert shown.people[0].visible == pytest.approx(1.0)


def test_whoever_stands_nearer_hides_whoever_stands_behind(draw_scene):
    frame = next(render_frames(staged(draw_scene, standing((0.0, 7.5)), standing((0.05, 5.2), 61))))
    behind, before = frame.people
    assert behind.visible < 0.4
    assert before.visible == pytest.approx(1.0)
    assert behind.face is None


def test_people_grow_towards_the_camera(draw_scene):
    frame = next(render_frames(staged(draw_scene, standing((-1.0, 9.0)), standing((1.0, 5.0)))))
    heights = [truth.box_px[3] - truth.box_px[1] for truth in frame.people]
    assert heights[1] / heights[0] == pytest.approx(9.0 / 5.0, rel=0.12)


def test_a_face_lies_in_its_persons_box_and_holds_its_landmarks(draw_scene):
    person = next(render_frames(staged(draw_scene, standing((0.0, 5.0))))).people[0]
    assert abs(person.face.yaw_rad) < 0.2
    x0, y0, x1, y1 = person.face.box_px
    assert person.box_px[0] <= x0 < x1 <= person.box_px[2]
    assert person.box_px[1] <= y0 < y1 < (person.box_px[1] + person.box_px[3]) / 2
    (left_eye, right_eye, nose, left_mouth, right_mouth) = person.face.landmarks_px
    assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in person.face.landmarks_px)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_nobody_has_a_face_from_behind(draw_scene):
    person = next(render_frames(staged(draw_scene, standing((0.0, 5.0), heading_rad=0.0)))).people[0]
    assert person.face is None
