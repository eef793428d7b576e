"""Empty places as a fixed camera sees them: a ray per pixel into a furnished box, textured by rule."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.scenes.camera import Camera

Floats = NDArray[np.float64]
Place = Literal["lobby", "hall", "car_park"]
PLACES: tuple[Place, ...] = ("lobby", "hall", "car_park")


@dataclass(frozen=True, slots=True)
class _Box:
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    colour: tuple[float, float, float]


def _noise(rng: np.random.Generator, x: Floats, y: Floats, cell_m: float) -> Floats:
    """Smooth value noise over a plane, -1 to 1."""
    table = rng.uniform(-1, 1, (64, 64))
    u, v = x / cell_m, y / cell_m
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = u - i, v - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)

    def corner(di: int, dj: int) -> Floats:
        return np.asarray(table[(i + di) % 64, (j + dj) % 64])

    near = corner(0, 0) * (1 - a) + corner(1, 0) * a
    far = corner(0, 1) * (1 - a) + corner(1, 1) * a
    return np.asarray(near * (1 - b) + far * b)


def _furniture(place: Place, depth_m: float, half_m: float, rng: np.random.Generator) -> list[_Box]:
    """What stands beyond and beside the floor people use."""
    boxes = []
    back = depth_m - 0.02
    if place == "car_park":
        for x in np.arange(-half_m + 1.2, half_m - 1.5, 2.9):
            if rng.random() < 0.75:
                paint = rng.uniform(0.08, 0.75) * np.array([1, 1, 1]) + rng.uniform(-0.06, 0.12, 3)
                colour = tuple(np.clip(paint, 0.05, 0.9))
                front = depth_m - 4.6
                boxes.append(_Box((x, 0.28, front), (x + 1.8, 0.85, back), colour))
                boxes.append(_Box((x + 0.12, 0.85, front + 0.9), (x + 1.68, 1.42, back), (0.12, 0.14, 0.16)))
                for wheel in (x + 0.05, x + 1.5):
                    boxes.append(
                        _Box((wheel, 0.0, front + 0.3), (wheel + 0.25, 0.55, front + 0.95), (0.05, 0.05, 0.05))
                    )
                for lamp in (x + 0.1, x + 1.45):
                    boxes.append(_Box((lamp, 0.55, front - 0.03), (lamp + 0.25, 0.68, front), (0.85, 0.83, 0.75)))
        for x in (-half_m + 0.6, half_m - 1.1):
            boxes.append(_Box((x, 0, depth_m - 5.6), (x + 0.5, 3.4, depth_m - 5.1), (0.62, 0.62, 0.58)))
        return boxes
    for x in np.arange(-half_m + 0.8, half_m - 1.4, 2.6):
        if rng.random() < 0.6:
            shade = rng.uniform(0.25, 0.5)
            boxes.append(_Box((x, 0, back), (x + 1.0, 2.1, depth_m), (shade, shade * 0.72, shade * 0.5)))
        else:
            boxes.append(_Box((x, 1.2, back), (x + 0.8, 2.1, depth_m), tuple(rng.uniform(0.25, 0.7, 3))))
    if place == "lobby":
        x = float(rng.uniform(-3.5, 1.0))
        boxes.append(_Box((x, 0, depth_m - 2.2), (x + 2.6, 1.05, depth_m - 1.5), (0.48, 0.33, 0.22)))
        boxes.append(_Box((x - 0.1, 1.05, depth_m - 2.3), (x + 2.7, 1.12, depth_m - 1.4), (0.78, 0.77, 0.74)))
    for x in (-half_m + 0.2, half_m - 0.7):
        boxes.append(_Box((x, 0, depth_m - 1.0), (x + 0.45, 0.5, depth_m - 0.5), (0.55, 0.35, 0.25)))
        boxes.append(_Box((x - 0.05, 0.5, depth_m - 1.05), (x + 0.5, 1.35, depth_m - 0.45), (0.12, 0.26, 0.10)))
    return boxes


def draw_background(camera: Camera, place: Place, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an empty place.

    Args:
        camera: Its view.
        place: What kind.
        rng: Dimensions, colours, furniture and dirt.

    Returns:
        (height_px, width_px, 3) uint8 RGB.
    """
    depth_m = float(rng.uniform(15.5, 19.0) if place == "car_park" else rng.uniform(13.0, 16.0))
    half_m = float(rng.uniform(6.0, 7.5))
    tall_m = 3.4 if place != "lobby" else 4.0
    yaw = float(rng.uniform(-0.16, 0.16))
    rays = camera.rays()
    cos, sin = np.cos(yaw), np.sin(yaw)
    dx, dy = rays[..., 0] * cos + rays[..., 2] * sin, rays[..., 1]
    dz = rays[..., 2] * cos - rays[..., 0] * sin
    eye = np.array([0.0, camera.height_m, 0.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = np.stack(
            [
                np.where(dy < 0, -eye[1] / dy, np.inf),
                np.where(dy > 0, (tall_m - eye[1]) / dy, np.inf),
                depth_m / dz,
                np.where(dx < 0, -half_m / dx, np.inf),
                np.where(dx > 0, half_m / dx, np.inf),
            ]
        )
    surface = np.argmin(hits, axis=0)
    reach = np.min(hits, axis=0)
    x, y, z = dx * reach, eye[1] + dy * reach, dz * reach
    colour = np.zeros((*reach.shape, 3))
    here = surface == 0
    colour[here] = _floor(place, x[here], z[here], rng)
    wall = np.array([0.82, 0.80, 0.75]) * rng.uniform(0.82, 1.08) + rng.uniform(-0.05, 0.05, 3)
    skirting_m = 0.9 if place == "car_park" else 0.12
    for index, along in ((2, x), (3, z), (4, z)):
        here = surface == index
        height, flat = y[here], along[here]
        dirt = 1 + 0.03 * _noise(rng, flat, height, 0.8) + 0.02 * _noise(rng, flat, height, 0.1)
        paint = np.where((height < skirting_m)[:, None], np.array([0.35, 0.36, 0.38]), wall)
        colour[here] = paint * (dirt * (1.0 if index == 2 else 0.86))[:, None]
    here = surface == 1
    lamps = (np.abs((x[here] + 1.5) % 3.0 - 1.5) < 0.18) & (np.abs((z[here] % 2.4) - 1.2) < 0.75)
    colour[here] = np.where(lamps[:, None], 1.25, np.array([0.60, 0.60, 0.58]))

    # Light thins out in corners: where a second surface is near.
    gaps = np.sort(np.stack([half_m - np.abs(x), depth_m - z, y, tall_m - y]), axis=0)[1]
    shade = 0.72 + 0.28 * np.clip(gaps / 1.2, 0, 1) ** 0.6
    pools = 0.93 + 0.07 * np.cos(x * 2 * np.pi / 3.0) * np.cos(z * 2 * np.pi / 2.4)
    colour *= (shade * pools)[..., None]

    directions = np.stack([dx, dy, dz], axis=-1)
    room = _Room(eye, directions, np.stack([x, z], axis=-1), surface == 0, yaw)
    for box in _furniture(place, depth_m, half_m, rng):
        _stand_box(room, camera, box, colour, reach, rng)
    picture = np.clip(colour * 225 * rng.uniform(0.8, 1.0), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(camera.width_px / 1600)))


@dataclass(frozen=True, slots=True)
class _Room:
    """What rays meet in the empty room: all (height_px, width_px, ...), room axes."""

    eye: Floats
    directions: Floats
    ground: Floats
    on_floor: NDArray[np.bool_]
    yaw_rad: float


def _stand_box(room: _Room, camera: Camera, box: _Box, colour: Floats, reach: Floats, rng: np.random.Generator) -> None:
    """Draw a box and the dimness around its foot into `colour`, and its distance into `reach`."""
    corners = np.array(
        [[x, y, z] for x in (box.low[0], box.high[0]) for y in (0.0, box.high[1]) for z in (box.low[2], box.high[2])]
    )
    cos, sin = np.cos(room.yaw_rad), np.sin(room.yaw_rad)
    spread = np.array([[dx, 0.0, dz] for dx in (-0.5, 0.5) for dz in (-0.5, 0.5)])
    around = (corners[:, None] + spread[None]).reshape(-1, 3)
    world = np.stack(
        [around[:, 0] * cos - around[:, 2] * sin, around[:, 1], around[:, 0] * sin + around[:, 2] * cos], -1
    )
    seen = camera.project(world)
    x0, y0 = np.clip(np.floor(seen[:, :2].min(axis=0)), 0, (camera.width_px, camera.height_px)).astype(int)
    x1, y1 = np.clip(np.ceil(seen[:, :2].max(axis=0)), 0, (camera.width_px, camera.height_px)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    window = (slice(y0, y1), slice(x0, x1))
    near, far = np.full((y1 - y0, x1 - x0), 1e-6), reach[window] + 0.05
    side = np.zeros(near.shape, dtype=int)
    for axis in range(3):
        ray = room.directions[window][..., axis] + 1e-9
        enter, leave = (box.low[axis] - room.eye[axis]) / ray, (box.high[axis] - room.eye[axis]) / ray
        first, last = np.minimum(enter, leave), np.maximum(enter, leave)
        side = np.where(first > near, axis, side)
        near, far = np.maximum(near, first), np.minimum(far, last)
    hit = (near < far) & (near > 1e-3)
    if box.low[1] == 0.0:
        ground = room.ground[window]
        gap = np.hypot(
            np.maximum(np.maximum(box.low[0] - ground[..., 0], ground[..., 0] - box.high[0]), 0),
            np.maximum(np.maximum(box.low[2] - ground[..., 1], ground[..., 1] - box.high[2]), 0),
        )
        dim = 0.6 + 0.4 * np.clip(gap / 0.5, 0, 1)
        colour[window] *= np.where(room.on_floor[window] & ~hit, dim, 1.0)[..., None]
    place = room.eye + room.directions[window] * near[..., None]
    tone = np.choose(side, [0.72, 1.12, 0.92]) * (1 + 0.04 * _noise(rng, place[..., 0] * 3, place[..., 1] * 3, 0.5))
    colour[window] = np.where(hit[..., None], np.array(box.colour) * tone[..., None], colour[window])
    reach[window] = np.where(hit, near, reach[window])


def _floor(place: Place, x: Floats, z: Floats, rng: np.random.Generator) -> Floats:
    base = {
        "lobby": np.array([0.62, 0.58, 0.52]),
        "hall": np.array([0.50, 0.53, 0.52]),
        "car_park": np.array([0.36, 0.36, 0.37]),
    }[place] * rng.uniform(0.85, 1.12)
    dirt = 1 + 0.05 * _noise(rng, x, z, 0.9) + 0.03 * _noise(rng, x, z, 0.12)
    colour = base * dirt[..., None]
    if place == "car_park":
        lines = (np.abs((x + 0.4) % 2.9) < 0.10) & (z > 8.5)
        worn = 0.78 + 0.12 * _noise(rng, x, z, 0.25)
        return np.where(lines[..., None], worn[..., None] * np.array([1.0, 0.98, 0.9]), colour)
    tile = 0.6 if place == "hall" else 0.9
    # Joints fade with distance instead of aliasing.
    sharp = np.clip(1.6 - z / 10, 0.15, 1.0)
    joint = (np.minimum(x % tile, z % tile) < 0.018) * 0.22 * sharp
    checker = 0.035 * (((np.floor(x / tile) + np.floor(z / tile)) % 2) * 2 - 1) * sharp
    return np.asarray(colour * (1 - joint + checker)[..., None])
