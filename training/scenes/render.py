"""Frames of a scene and what is true in each: people drawn by depth over a place, as a cheap camera records them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.scenes import body, script
from training.scenes.background import Place, draw_background
from training.scenes.camera import Camera
from training.scenes.head import Head, build_head
from training.scenes.portrait import Light, Portrait, draw_head
from training.scenes.solid import Canvas
from training.scenes.subject import Subject
from training.scenes.texture import smooth_noise

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Box = tuple[float, float, float, float]

_YAW_STEP_RAD, _PITCH_STEP_RAD = math.radians(6), math.radians(8)
_DRAWN_ALPHA = 110
# Below this scale people are drawn twice as large and shrunk, or their edges would crawl.
_COARSE_PX_PER_M = 75


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that fixes the pixels of a clip."""

    seed: int
    camera: Camera
    place: Place
    light: Light
    noise_sigma: float
    blur_px: float
    parts: tuple[script.Part, ...]
    seconds: float
    fps: float

    @property
    def frame_count(self) -> int:
        """Frames in the clip."""
        return round(self.seconds * self.fps)


@dataclass(frozen=True, slots=True)
class FaceTruth:
    """A face that can be seen: xyxy px, landmarks (eyes, nose, mouth corners; picture's left first), yaw."""

    box_px: Box
    landmarks_px: tuple[tuple[float, float], ...]
    yaw_rad: float


@dataclass(frozen=True, slots=True)
class PersonTruth:
    """A person in one frame.

    Attributes:
        box_px: xyxy around their drawn pixels inside the frame, hidden ones included.
        visible: Share of their whole silhouette that is inside the frame and not behind somebody.
        face: None when turned away, hidden or out of frame.
    """

    box_px: Box
    visible: float
    face: FaceTruth | None


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """Pixels, and one truth a part in the scene's order; None for whoever is not in the frame."""

    rgb: Bytes
    people: tuple[PersonTruth | None, ...]


@dataclass(frozen=True, slots=True)
class _Figure:
    """A person drawn on their own: premultiplied colour, alpha and face mask, placed at an offset in the frame."""

    rgb: NDArray[np.float32]
    alpha: Bytes
    face_mask: Bytes
    left_px: int
    top_px: int
    landmarks_px: Floats
    yaw_rad: float
    distance_m: float


class Wardrobe:
    """Heads modelled once and drawn once a viewing direction."""

    def __init__(self, light: Light, *, height_px: int) -> None:
        self._light = light
        self._height_px = height_px
        self._heads: dict[str, Head] = {}
        self._portraits: dict[tuple[str, int, int], Portrait] = {}

    def portrait(self, subject: Subject, yaw_rad: float, pitch_rad: float) -> Portrait:
        """A subject's head seen from nearly that direction."""
        key = (subject.subject_id, round(yaw_rad / _YAW_STEP_RAD), round(pitch_rad / _PITCH_STEP_RAD))
        if key not in self._portraits:
            if subject.subject_id not in self._heads:
                self._heads[subject.subject_id] = build_head(subject, height_px=self._height_px)
            self._portraits[key] = draw_head(
                self._heads[subject.subject_id],
                self._light,
                yaw_rad=key[1] * _YAW_STEP_RAD,
                pitch_rad=key[2] * _PITCH_STEP_RAD,
                height_px=self._height_px,
            )
        return self._portraits[key]


def render_frames(scene: Scene) -> Iterator[RenderedFrame]:
    """Render a scene frame by frame; the same scene gives the same pixels."""
    camera = scene.camera
    rng = np.random.default_rng([scene.seed, 0xBAC])
    background = draw_background(camera, scene.place, rng)
    background = np.clip(background * np.array(scene.light.tint), 0, 255).astype(np.uint8)
    nearest_m = min(act.start_m[1] for part in scene.parts for act in part.acts)
    head_px = camera.focal_px * body.HEAD_SHARE * 1.8 / nearest_m
    wardrobe = Wardrobe(scene.light, height_px=int(np.clip(head_px * 1.5, 40, 200)))
    folds = _folds(rng)
    grain = _grain(scene, rng)
    for index in range(scene.frame_count):
        seconds = index / scene.fps
        moments = [script.look_at(part, seconds) for part in scene.parts]
        figures: dict[int, _Figure] = {}
        shadow = Image.new("L", (camera.width_px // 4, camera.height_px // 4))
        for number, (part, moment) in enumerate(zip(scene.parts, moments, strict=True)):
            if moment is None:
                continue
            bones = body.place_bones(
                part.subject, moment.pose, at_m=moment.at_m, heading_rad=moment.heading_rad, gaze_rad=moment.gaze_rad
            )
            figure = _draw_person(scene, part.subject, bones, wardrobe, folds)
            if figure is not None:
                figures[number] = figure
                _cast_shadow(camera, shadow, bones)
        far_to_near = sorted(figures, key=lambda number: -figures[number].distance_m)
        rgb = _compose(background, shadow, [figures[number] for number in far_to_near])
        people: list[PersonTruth | None] = [None] * len(scene.parts)
        covered = np.zeros((camera.height_px, camera.width_px), dtype=np.bool_)
        for number in reversed(far_to_near):
            people[number] = _observe(figures[number], covered)
        noise = grain[int(rng.integers(len(grain)))]
        row, column = (int(shift) for shift in rng.integers(0, 64, 2))
        noise = noise[row : row + camera.height_px, column : column + camera.width_px, None]
        yield RenderedFrame(np.clip(rgb + noise, 0, 255).astype(np.uint8), tuple(people))


def _folds(rng: np.random.Generator) -> NDArray[np.float32]:
    """Gentle bends of cloth, as offsets of normals: (256, 256, 2)."""
    layers = [smooth_noise(rng, (256, 256), 16) + 0.5 * smooth_noise(rng, (256, 256), 7) for _ in range(2)]
    return (0.12 * np.stack(layers, axis=-1)).astype(np.float32)


def _grain(scene: Scene, rng: np.random.Generator) -> NDArray[np.int16]:
    shape = (4, scene.camera.height_px + 64, scene.camera.width_px + 64)
    return np.rint(rng.normal(0, scene.noise_sigma, shape)).astype(np.int16)


def _draw_person(
    scene: Scene, subject: Subject, bones: body.Skeleton, wardrobe: Wardrobe, folds: NDArray[np.float32]
) -> _Figure | None:
    camera = scene.camera
    middle_m = bones.joints["pelvis"]
    seen = camera.project(middle_m)
    finer = 2 if camera.focal_px / seen[2] < _COARSE_PX_PER_M else 1
    scale = camera.focal_px / seen[2] * finer
    flat = body.Projector(camera.view_axes(middle_m), middle_m, np.zeros(2), scale)
    spots = np.array([flat(point)[:2] for point in bones.joints.values()])
    margin = 0.27 * scale
    low = np.floor((spots.min(axis=0) - margin) / finer).astype(int)
    high = np.ceil((spots.max(axis=0) + margin) / finer).astype(int)
    left, top = (int(v) for v in np.floor(seen[:2]) + low)
    width, height = (int(v) for v in high - low)
    if left >= camera.width_px or top >= camera.height_px or left + width <= 0 or top + height <= 0:
        return None
    anchor = (seen[:2] - np.array([left, top])) * finer
    project = body.Projector(flat.axes, middle_m, anchor, scale)
    canvas = Canvas(width * finer, height * finer)
    body.draw_body(canvas, subject, bones, project)

    drawn = canvas.material >= 0
    material, normals = canvas.material[drawn], canvas.normal[drawn].astype(np.float64)
    normals[:, 1] *= -1
    rows, columns = np.nonzero(drawn)
    bend = folds[((rows - int(anchor[1])) * 2 // finer) % 256, ((columns - int(anchor[0])) * 2 // finer) % 256]
    normals[:, :2] += bend * ((material != body.SKIN) & (material != body.SHOES))[:, None]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-6
    rgb = np.zeros((*drawn.shape, 3), dtype=np.float32)
    rgb[drawn] = scene.light.shade(body.palette(subject)[material], normals, 0.03)
    alpha = drawn.astype(np.uint8) * 255
    mask = np.zeros_like(alpha)
    landmarks, yaw_rad = _put_head(subject, bones, project, canvas, wardrobe, rgb, alpha, mask, camera)

    blur = ImageFilter.GaussianBlur(scene.blur_px)
    layers = np.dstack([rgb.astype(np.uint8), alpha])
    picture = Image.fromarray(layers, "RGBa")
    if finer > 1:
        picture = picture.reduce(finer)
        mask = np.asarray(Image.fromarray(mask).reduce(finer))
    rgba = np.asarray(picture.filter(blur))
    offset = np.array([left, top])
    return _Figure(
        rgb=rgba[..., :3].astype(np.float32),
        alpha=rgba[..., 3],
        face_mask=mask,
        left_px=left,
        top_px=top,
        landmarks_px=landmarks / finer + offset,
        yaw_rad=yaw_rad,
        distance_m=float(seen[2]),
    )


def _put_head(
    subject: Subject,
    bones: body.Skeleton,
    project: body.Projector,
    canvas: Canvas,
    wardrobe: Wardrobe,
    rgb: NDArray[np.float32],
    alpha: Bytes,
    mask: Bytes,
    camera: Camera,
) -> tuple[Floats, float]:
    """Draw the head where it is nearer than the body; returns landmarks in canvas pixels and the yaw."""
    centre_m = bones.joints["skull"]
    turned = camera.view_axes(centre_m) @ (bones.head * np.array([-1.0, 1.0, 1.0]))
    up, forward = turned[:, 1], turned[:, 2]
    pitch = math.asin(float(np.clip(up[2], -1, 1)))
    roll = math.atan2(-up[0], up[1])
    cos, sin = math.cos(roll), math.sin(roll)
    ahead = np.array([cos * forward[0] + sin * forward[1], cos * forward[1] - sin * forward[0], forward[2]])
    yaw = math.atan2(ahead[0], math.cos(pitch) * ahead[2] - math.sin(pitch) * ahead[1])
    portrait = wardrobe.portrait(subject, yaw, pitch)

    unit = body.HEAD_SHARE * subject.height_m * project.scale
    centre = project(centre_m)
    size = max(4, round(portrait.rgba.shape[0] * unit / portrait.unit_px))
    exact = size / portrait.rgba.shape[0] * portrait.unit_px
    left, top = round(float(centre[0]) - size / 2), round(float(centre[1]) - size / 2)
    degrees = math.degrees(roll)
    picture = Image.fromarray(portrait.rgba, "RGBA").convert("RGBa").resize((size, size), Image.Resampling.BOX)
    deep = Image.fromarray(portrait.depth).resize((size, size), Image.Resampling.NEAREST)
    front = Image.fromarray(portrait.face_mask).resize((size, size), Image.Resampling.BOX)
    if abs(roll) > 0.02:
        picture = picture.rotate(degrees, Image.Resampling.BILINEAR)
        deep = deep.rotate(degrees, Image.Resampling.NEAREST, fillcolor=-9.0)
        front = front.rotate(degrees, Image.Resampling.BILINEAR)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + size, alpha.shape[1]), min(top + size, alpha.shape[0])
    if x0 < x1 and y0 < y1:
        inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        window = (slice(y0, y1), slice(x0, x1))
        head = np.asarray(picture)[inner]
        shown = centre[2] + np.asarray(deep)[inner] * exact > canvas.depth[window]
        share = head[..., 3] * shown / 255.0
        rgb[window] = rgb[window] * (1 - share)[..., None] + head[..., :3] * shown[..., None]
        alpha[window] = np.maximum(alpha[window], np.rint(share * 255).astype(np.uint8))
        mask[window] = np.asarray(front)[inner] * shown
    spots = portrait.landmarks[:, :2] * exact
    x = centre[0] + cos * spots[:, 0] - sin * spots[:, 1]
    y = centre[1] - (sin * spots[:, 0] + cos * spots[:, 1])
    return np.stack([x, y], axis=-1), yaw


def _cast_shadow(camera: Camera, shadow: Image.Image, bones: body.Skeleton) -> None:
    """Darken the floor: a long faint shadow of the limbs, a dark one where they touch."""
    draw = ImageDraw.Draw(shadow)
    joints = bones.joints
    links = [("pelvis", "chest"), ("chest", "skull")]
    for name in ("left", "right"):
        links += [(f"{name}_hip", f"{name}_knee"), (f"{name}_knee", f"{name}_ankle"), ("chest", f"{name}_elbow")]
    for first, second in links:
        ends = []
        for point in (joints[first], joints[second]):
            ground = np.array([point[0] + 0.28 * point[1], 0.0, point[2] + 0.22 * point[1]])
            x, y, depth = camera.project(ground) / np.array([4.0, 4.0, 1.0])
            ends.append((float(x), float(y)))
        wide = 0.20 if "chest" in (first, second) else 0.13
        draw.line(ends, fill=70, width=max(1, round(camera.focal_px * wide / 4 / depth)))
    for point in joints.values():
        if point[1] < 0.42:
            x, y, depth = camera.project(np.array([point[0], 0.0, point[2]])) / np.array([4.0, 4.0, 1.0])
            reach = camera.focal_px * 0.13 / 4 / depth
            draw.ellipse((x - reach, y - reach * 0.4, x + reach, y + reach * 0.4), fill=150)


def _compose(background: Bytes, shadow: Image.Image, far_to_near: list[_Figure]) -> NDArray[np.int16]:
    frame = background.astype(np.int16)
    extent = shadow.getbbox()
    if extent:
        soft = shadow.filter(ImageFilter.GaussianBlur(1.8))
        x0, y0, x1, y1 = max(extent[0] - 6, 0), max(extent[1] - 6, 0), extent[2] + 6, extent[3] + 6
        x1, y1 = min(x1, shadow.width), min(y1, shadow.height)
        patch = soft.crop((x0, y0, x1, y1)).resize(((x1 - x0) * 4, (y1 - y0) * 4), Image.Resampling.BILINEAR)
        dark = 1 - np.asarray(patch, dtype=np.float32)[..., None] * np.float32(0.72 / 255)
        window = (slice(y0 * 4, y1 * 4), slice(x0 * 4, x1 * 4))
        frame[window] = frame[window] * dark
    for figure in far_to_near:
        inner, window = _overlap(figure, frame.shape[0], frame.shape[1])
        keep = 1 - figure.alpha[inner][..., None].astype(np.float32) / 255
        frame[window] = frame[window] * keep + figure.rgb[inner]
    return frame


def _overlap(figure: _Figure, height_px: int, width_px: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a figure inside the frame, in the figure's and in the frame's pixels."""
    tall, wide = figure.alpha.shape
    y0, y1 = max(figure.top_px, 0), min(figure.top_px + tall, height_px)
    x0, x1 = max(figure.left_px, 0), min(figure.left_px + wide, width_px)
    y1, x1 = max(y1, y0), max(x1, x0)
    inner = (slice(y0 - figure.top_px, y1 - figure.top_px), slice(x0 - figure.left_px, x1 - figure.left_px))
    return inner, (slice(y0, y1), slice(x0, x1))


def _bounds(mask: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _observe(figure: _Figure, covered: NDArray[np.bool_]) -> PersonTruth | None:
    """What is true of a figure behind those already counted in `covered`; adds the figure to it."""
    drawn = figure.alpha > _DRAWN_ALPHA
    inner, window = _overlap(figure, *covered.shape)
    inside = drawn[inner]
    box = _bounds(inside)
    if box is None:
        return None
    offset = (window[1].start, window[0].start)
    free = ~covered[window]
    visible = float((inside & free).sum() / drawn.sum())
    face_drawn = figure.face_mask > 127
    face_box = _bounds(face_drawn[inner] & free)
    face = None
    shown = float((face_drawn[inner] & free).sum())
    if face_box is not None and abs(figure.yaw_rad) < 1.2 and shown > 0.7 * face_drawn.sum() and shown > 60:
        points = tuple((round(float(x), 2), round(float(y), 2)) for x, y in figure.landmarks_px)
        face = FaceTruth(_shift(face_box, offset), points, figure.yaw_rad)
    covered[window] |= inside
    return PersonTruth(_shift(box, offset), visible, face)


def _shift(box: Box, offset: tuple[int, int]) -> Box:
    return (box[0] + offset[0], box[1] + offset[1], box[2] + offset[0], box[3] + offset[1])
