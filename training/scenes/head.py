"""The head of a subject as a surface in space: skull, face relief, ears, hair, glasses.

Head units: crown to chin is 1; the origin lies midway between them on the axis of the skull; x is the head's left as
seen from the front's right side of the picture, y up, z out of the face. Colours come from `face`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scenes import face
from training.scenes.subject import Subject

Floats = NDArray[np.float64]

# Half width, front depth and back depth of the skull against height: anthropometric proportions, chosen by eye.
_LEVELS = np.array([-0.50, -0.485, -0.46, -0.42, -0.35, -0.25, -0.15, 0.0, 0.15, 0.30, 0.40, 0.46, 0.49, 0.50])
_WIDTHS = np.array([0.00, 0.085, 0.130, 0.178, 0.235, 0.285, 0.310, 0.330, 0.335, 0.305, 0.245, 0.165, 0.08, 0.0])
_FRONTS = np.array([0.24, 0.315, 0.335, 0.345, 0.350, 0.358, 0.366, 0.375, 0.382, 0.350, 0.270, 0.175, 0.08, 0.0])
_BACKS = np.array([-0.15, -0.08, -0.02, 0.05, 0.18, 0.28, 0.36, 0.42, 0.43, 0.385, 0.29, 0.19, 0.09, 0.0])


@dataclass(frozen=True, slots=True)
class Head:
    """A cloud dense enough to be splatted without holes.

    Attributes:
        points: (N, 3) head units.
        normals: (N, 3) unit.
        albedo: (N, 3) reflectance 0 to 1.
        gloss: (N,) strength of the highlight.
        is_face: (N,) True on the front of the face, from brow-top to chin.
        landmarks: (5, 3): eye on the picture's left, eye on its right, nose tip, mouth corners left and right.
    """

    points: Floats
    normals: Floats
    albedo: Floats
    gloss: Floats
    is_face: NDArray[np.bool_]
    landmarks: Floats


def _smooth(low: float, high: float, value: Floats) -> Floats:
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _profile(y: Floats, values: Floats) -> Floats:
    """Read a table of `_LEVELS` along a smooth curve: straight pieces would show as facets."""
    fine = np.linspace(-0.5, 0.5, 401)
    kernel = np.hanning(47)
    padded = np.pad(np.interp(fine, _LEVELS, values), 23, mode="reflect", reflect_type="odd")
    return np.asarray(np.interp(y, fine, np.convolve(padded, kernel / kernel.sum(), mode="valid")))


def _skull(subject: Subject, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Half width, front depth and back depth at each height."""
    width = _profile(y, _WIDTHS)
    low = _smooth(-0.10, -0.42, y)
    width = width * (1.0 + 0.07 * subject.face_width)
    width *= 1.0 + low * (0.13 * subject.jaw_width - 0.10 * subject.femininity + 0.05)
    width *= 1.0 + 0.05 * subject.cheek * np.exp(-(((y + 0.16) / 0.12) ** 2))
    width *= 1.0 + 0.06 * subject.forehead * _smooth(0.1, 0.35, y)
    return width, _profile(y, _FRONTS), _profile(y, _BACKS)


def _normals(grid: Floats) -> Floats:
    """Outward unit normals of a (rows, columns, 3) grid whose columns run round the head."""
    down = np.gradient(grid, axis=0)
    across = np.gradient(grid, axis=1)
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    outward = np.sum(normal[..., [0, 2]] * grid[..., [0, 2]]) > 0
    return normal if outward else -normal


def _blob(centre: tuple[float, float, float], radii: tuple[float, float, float], count: int) -> tuple[Floats, Floats]:
    """Points and normals of an ellipsoid, evenly spread."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    unit = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=-1)
    normal = unit / np.array(radii)
    return np.array(centre) + unit * np.array(radii), normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _tube(curve: Floats, radius: float) -> tuple[Floats, Floats]:
    """Points and normals of a thin wire along a (N, 3) curve."""
    turn = np.arange(6) * (np.pi / 3)
    ring = np.stack([np.cos(turn), np.sin(turn), np.full(6, 0.6)], axis=-1)
    points = curve[:, None, :] + radius * ring[None] * np.array([1.0, 1.0, 0.7])
    normals = np.broadcast_to(ring / np.linalg.norm(ring, axis=-1, keepdims=True), points.shape)
    return points.reshape(-1, 3), normals.reshape(-1, 3)


def _glasses(subject: Subject, layout: face.Layout, depth: float) -> tuple[Floats, Floats]:
    turn = np.linspace(0, 2 * np.pi, 220)
    power = 0.5 if subject.glasses != "round" else 1.0
    shape_x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    shape_y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    wide, tall = (0.098, 0.085) if subject.glasses == "round" else (0.108, 0.068)
    parts = []
    for side in (-1.0, 1.0):
        x = side * (layout.eye_x + 0.008) + wide * shape_x
        parts.append(np.stack([x, layout.eye_y - 0.012 + tall * shape_y, depth - 0.55 * np.abs(x) ** 2], axis=-1))
        hinge = layout.eye_x + wide
        back = np.linspace(0.0, 1.0, 160)
        arm_x = side * (hinge + (0.345 + 0.02 * subject.face_width - hinge) * np.minimum(back * 4, 1.0))
        arm_z = depth - 0.55 * hinge**2 - back * 0.42
        parts.append(np.stack([arm_x, np.full_like(back, layout.eye_y + 0.02), arm_z], axis=-1))
    bridge = np.linspace(-1, 1, 60) * (layout.eye_x - wide + 0.012)
    parts.append(np.stack([bridge, layout.eye_y + 0.015 * (1 - (bridge / 0.06) ** 2), np.full_like(bridge, depth)], -1))
    return _tube(np.concatenate(parts), 0.0085)


def build_head(subject: Subject, *, height_px: int) -> Head:
    """Model a subject's head finely enough to be drawn at a given size.

    Args:
        subject: Whose head.
        height_px: Crown-to-chin size it will be drawn at, pixels.
    """
    rng = np.random.default_rng([subject.seed, 0xFACE])
    layout = face.place_features(subject)
    rows, columns = int(height_px * 2.1), int(height_px * 3.2)
    polar = np.linspace(np.pi / 2, -np.pi / 2, rows)
    turn = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    y = 0.5 * np.sin(polar)[:, None] + 0 * turn[None]
    width, front, back = _skull(subject, y)
    sin, cos = np.sin(turn)[None] + 0 * y, np.cos(turn)[None] + 0 * y
    power = 2.0 / 2.25
    x = width * np.sign(sin) * np.abs(sin) ** power
    z = np.where(cos > 0, front, back) * np.sign(cos) * np.abs(cos) ** power
    frontness = _smooth(0.12, 0.55, cos)
    # The chin grows downwards so that the crown and the eyes stay where the layout put them.
    stretch = 1.0 + 0.07 * subject.chin_length * _smooth(-0.25, -0.5, y)
    y_out = y * stretch

    relief = face.relief(subject, layout, x, y)
    z = z + relief * frontness
    skin, gloss = face.paint(subject, layout, x, y, frontness, rng)

    hair, volume = face.hair_cover(subject, x, y, z, cos, rng)
    strands = face.strands(subject, turn, rows, rng)
    beard = face.beard_cover(subject, layout, x, y, frontness, rng)
    albedo = skin * (1 - beard[..., None]) + strands * beard[..., None]
    albedo = albedo * (1 - hair[..., None]) + strands * hair[..., None]
    gloss = gloss * (1 - np.maximum(hair, beard)) + 0.10 * hair
    puff = 1.0 + (volume * hair + 0.02 * beard * (subject.beard == "full"))
    grid = np.stack([x * puff, np.where(y > 0, y_out * (1 + 0.55 * volume * hair), y_out), z * puff], axis=-1)

    clouds = [(grid.reshape(-1, 3), _normals(grid).reshape(-1, 3), albedo.reshape(-1, 3), gloss.reshape(-1))]
    is_face = ((frontness > 0.35) & (y < layout.brow_y + 0.16) & (y > -0.465)).reshape(-1)
    density = (height_px / 128) ** 2

    ear_x = float(np.interp(0.0, _LEVELS, _WIDTHS)) * (1 + 0.07 * subject.face_width)
    if subject.hair not in ("long", "bob"):
        for side in (-1.0, 1.0):
            points, normals = _blob((side * (ear_x + 0.012), -0.055, -0.02), (0.035, 0.115, 0.065), int(2600 * density))
            inner = np.exp(-(((points[:, 1] + 0.055) / 0.06) ** 2) - (((points[:, 2] - 0.01) / 0.03) ** 2))
            tint = np.array(subject.skin) * np.array([1.0, 0.90, 0.88]) * (1 - 0.35 * inner[:, None])
            clouds.append((points, normals, tint, np.full(len(points), 0.05)))
    if subject.hair == "bun":
        points, normals = _blob((0.0, 0.40, -0.36), (0.16, 0.15, 0.15), int(14000 * density))
        clouds.append(
            (points, normals, np.tile(np.array(subject.hair_colour), (len(points), 1)), np.full(len(points), 0.1))
        )
    if subject.hair in ("long", "bob"):
        clouds.append(_curtain(subject, height_px, rng))
    if subject.glasses != "none":
        points, normals = _glasses(subject, layout, 0.455)
        clouds.append((points, normals, np.full_like(points, 0.05), np.full(len(points), 0.3)))

    points, normals, albedos, glosses = (np.concatenate([cloud[k] for cloud in clouds]) for k in range(4))
    face_flags = np.zeros(len(points), dtype=np.bool_)
    face_flags[: len(is_face)] = is_face
    return Head(points, normals, albedos, glosses, face_flags, _landmarks(subject, layout))


def _curtain(subject: Subject, height_px: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
    """Hair hanging beside and behind the face."""
    bottom = -0.95 if subject.hair == "long" else -0.42
    rows, columns = int(height_px * (0.25 - bottom) * 1.7), int(height_px * 2.2)
    y = np.linspace(0.25, bottom, rows)[:, None]
    turn = np.linspace(0.31 * np.pi, 1.69 * np.pi, columns)[None]
    spread = 1.16 + 0.10 * np.sin((0.25 - y) / (0.25 - bottom) * np.pi) + 0.02 * np.sin(turn * 23)
    width = 0.335 * (1 + 0.07 * subject.face_width) * spread + 0 * turn
    depth = np.where(np.cos(turn) > 0, 0.30, 0.42) * spread
    grid = np.stack([width * np.sin(turn), y + 0 * turn, depth * np.cos(turn) - 0.02], axis=-1)
    colour = face.strands(subject, turn[0], rows, rng) * (1 - 0.25 * _smooth(0.1, -0.8, y))[..., None]
    count = rows * columns
    return grid.reshape(-1, 3), _normals(grid).reshape(-1, 3), colour.reshape(-1, 3), np.full(count, 0.10)


def _landmarks(subject: Subject, layout: face.Layout) -> Floats:
    chin = 1.0 + 0.07 * subject.chin_length * float(_smooth(-0.25, -0.5, np.array(layout.mouth_y)))
    mouth_z = 0.345 - 0.10 * layout.mouth_x
    return np.array(
        [
            [-layout.eye_x, layout.eye_y, 0.335],
            [layout.eye_x, layout.eye_y, 0.335],
            [0.0, layout.nose_y + 0.02, 0.37 + layout.nose_z],
            [-layout.mouth_x, layout.mouth_y * chin, mouth_z],
            [layout.mouth_x, layout.mouth_y * chin, mouth_z],
        ]
    )
