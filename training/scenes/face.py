"""What is painted and moulded on the front of a head: features, their relief, hair and beard.

All functions take frontal coordinates in head units (see `head`) as equally shaped arrays, so one description serves
any resolution.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.scenes.subject import Subject
from training.scenes.texture import smooth_noise

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a subject's features sit, head units; x is the distance from the mid-line."""

    eye_x: float
    eye_y: float
    eye_wide: float
    eye_tall: float
    brow_y: float
    nose_y: float
    nose_wide: float
    nose_z: float
    mouth_x: float
    mouth_y: float
    lip_tall: float


class _Tint(Protocol):
    def __call__(self, mask: Floats, target: Floats | tuple[float, float, float], strength: float = 1.0) -> None:
        """Blend a colour in where the mask says."""


def place_features(subject: Subject) -> Layout:
    """Turn a subject's deviations into places and sizes."""
    eye_y = 0.015 + 0.022 * subject.eye_height
    mouth_x = 0.108 * (1 + 0.16 * subject.mouth_width)
    return Layout(
        eye_x=0.142 * (1 + 0.09 * subject.eye_spacing),
        eye_y=eye_y,
        eye_wide=0.064 * (1 + 0.13 * subject.eye_size),
        eye_tall=0.027 * (1 + 0.30 * subject.eye_size + 0.18 * subject.femininity - 0.22 * subject.age),
        brow_y=eye_y + 0.075 * (1 + 0.22 * subject.brow_height + 0.10 * subject.femininity),
        nose_y=-0.185 - 0.028 * subject.nose_length,
        nose_wide=0.058 * (1 + 0.24 * subject.nose_width - 0.12 * subject.femininity),
        nose_z=0.105 * (1 + 0.25 * subject.nose_depth - 0.12 * subject.femininity),
        mouth_x=mouth_x,
        mouth_y=-0.315 - 0.016 * subject.mouth_height - 0.006 * subject.nose_length,
        lip_tall=0.030 * (1 + 0.38 * subject.lip_fullness + 0.22 * subject.femininity - 0.20 * subject.age),
    )


def _bump(x: Floats, y: Floats, centre_x: float, centre_y: float, wide: float, tall: float) -> Floats:
    return np.exp(-(((x - centre_x) / wide) ** 2) - (((y - centre_y) / tall) ** 2))


def _step(edge: Floats | float, soft: float, value: Floats) -> Floats:
    """1 where value > edge, blurred over `soft`."""
    share = np.clip((value - edge) / soft + 0.5, 0.0, 1.0)
    return share * share * (3 - 2 * share)


def relief(subject: Subject, layout: Layout, x: Floats, y: Floats) -> Floats:
    """How far the face stands out of the skull, head units."""
    side = np.abs(x)
    masculine = 1.0 - subject.femininity
    along = np.clip((layout.eye_y + 0.045 - y) / (layout.eye_y + 0.045 - layout.nose_y), 0.0, 1.0)
    under = _step(layout.nose_y - 0.022, 0.035, y)
    ridge = np.exp(-((side / (0.030 + 0.026 * along**2 * (1 + 0.25 * subject.nose_width))) ** 2))
    out = layout.nose_z * along**1.15 * under * ridge
    out += 0.034 * _bump(side, y, layout.nose_wide * 0.92, layout.nose_y, 0.026, 0.026)
    out -= (0.034 + 0.012 * masculine) * _bump(side, y, layout.eye_x - 0.01, layout.eye_y + 0.005, 0.085, 0.050)
    out += 0.014 * _bump(side, y, layout.eye_x, layout.eye_y, layout.eye_wide * 0.8, 0.032)
    out += (0.008 + 0.014 * masculine) * _bump(side, y, layout.eye_x - 0.02, layout.brow_y, 0.09, 0.026)
    out += (0.016 + 0.016 * subject.cheek) * _bump(side, y, 0.20, -0.10, 0.075, 0.065)
    full = layout.lip_tall / 0.03
    mouth = np.exp(-((x / (layout.mouth_x * 0.85)) ** 4))
    out += 0.016 * full * mouth * np.exp(-(((y - layout.mouth_y - 0.020 * full) / 0.018) ** 2))
    out += 0.020 * full * mouth * np.exp(-(((y - layout.mouth_y + 0.024 * full) / 0.020) ** 2))
    out -= 0.014 * mouth * np.exp(-(((y - layout.mouth_y) / 0.008) ** 2))
    out -= 0.014 * _bump(x, y, 0.0, layout.mouth_y - 0.072, 0.08, 0.022)
    out += (0.016 + 0.012 * masculine) * _bump(x, y, 0.0, -0.445, 0.075, 0.045)
    fold = side - (0.075 + 0.55 * np.clip(layout.nose_y - y, 0.0, 0.16))
    inside = _step(layout.mouth_y - 0.03, 0.05, y) * _step(-layout.nose_y - 0.03, 0.04, -y)
    out -= (0.004 + 0.014 * subject.age) * np.exp(-((fold / 0.012) ** 2)) * inside
    bag = _bump(side, y, layout.eye_x - 0.01, layout.eye_y - 0.058, 0.055, 0.010)
    return np.asarray(out - (0.002 + 0.007 * subject.age) * bag)


def paint(
    subject: Subject, layout: Layout, x: Floats, y: Floats, frontness: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Skin with everything drawn on it.

    Returns:
        Albedo, x's shape plus 3, and gloss, x's shape.
    """
    side = np.abs(x)
    skin = np.array(subject.skin)
    colour = np.ones((*x.shape, 3)) * skin
    gloss = np.full(x.shape, 0.07)

    def tint(mask: Floats, target: Floats | tuple[float, float, float], strength: float = 1.0) -> None:
        share = np.clip(mask * strength, 0.0, 1.0)[..., None] * frontness[..., None]
        colour[...] = colour * (1 - share) + np.asarray(target) * share

    mottle = smooth_noise(rng, x.shape, max(4, x.shape[0] // 24)) + 0.6 * smooth_noise(
        rng, x.shape, max(2, x.shape[0] // 90)
    )
    colour *= (1 + (0.025 + 0.03 * subject.age) * mottle)[..., None]
    red = skin * np.array([1.02, 0.80, 0.78])
    tint(_bump(side, y, 0.19, -0.13, 0.09, 0.07), red, 0.55)
    tint(_bump(x, y, 0.0, layout.nose_y + 0.01, 0.06, 0.05), red, 0.55)
    tint(_bump(side, y, layout.eye_x - 0.01, layout.eye_y, 0.10, 0.055), skin * np.array([0.80, 0.72, 0.72]), 0.75)
    bag = _bump(side, y, layout.eye_x - 0.015, layout.eye_y - 0.055, 0.055, 0.016)
    tint(bag, skin * 0.70, 0.25 + 0.55 * subject.age)
    fold = side - (0.075 + 0.55 * np.clip(layout.nose_y - y, 0.0, 0.16))
    inside = _step(layout.mouth_y - 0.03, 0.05, y) * _step(-layout.nose_y - 0.03, 0.04, -y)
    tint(np.exp(-((fold / 0.014) ** 2)) * inside, skin * 0.66, 0.22 + 0.6 * subject.age)
    if subject.age > 0.45:
        for level in (0.17, 0.21, 0.25):
            wave = y - level - 0.012 * np.cos(x * 16 + level * 40)
            tint(np.exp(-((wave / 0.0055) ** 2)) * _step(-0.2, 0.1, -side), skin * 0.70, 1.3 * (subject.age - 0.45))
        crow = np.abs(np.sin((y - layout.eye_y) * 120)) < 0.25
        tint(crow * _bump(side, y, layout.eye_x + 0.095, layout.eye_y, 0.025, 0.045), skin * 0.7, subject.age)
    freckles = (smooth_noise(rng, x.shape, 3) > 0.62) * _bump(side, y, 0.13, -0.10, 0.12, 0.06)
    tint(freckles, skin * np.array([0.75, 0.62, 0.52]), 0.8 * float(subject.seed % 5 == 0))

    # Nose: shaded flanks, wings and nostrils; light alone would be too soft at the sizes a camera sees.
    flank = np.exp(-(((side - 0.052) / 0.020) ** 2)) * _step(layout.nose_y, 0.05, y) * _step(-layout.eye_y, 0.08, -y)
    tint(flank, skin * 0.74, 0.40)
    tint(_bump(x, y, 0.0, layout.nose_y - 0.030, layout.nose_wide * 1.05, 0.016), skin * 0.52, 0.65)
    tint(_bump(side, y, layout.nose_wide * 0.50, layout.nose_y - 0.020, 0.019, 0.012), (0.08, 0.04, 0.03), 1.1)

    _paint_mouth(subject, layout, x, y, tint, gloss)
    _paint_eyes(subject, layout, x, y, tint, gloss)
    hair = np.array(subject.hair_colour) * 0.85
    arch = (side - layout.eye_x) / 0.085
    brow_y = layout.brow_y - 0.014 * arch**2 + (0.010 + 0.012 * subject.brow_tilt) * arch
    thick = 0.0165 * (1 + 0.45 * subject.brow_thickness) * (1 - 0.30 * subject.femininity) * (1.05 - 0.35 * arch)
    hairs = 0.75 + 0.35 * smooth_noise(rng, x.shape, 3)
    brow = np.exp(-(((y - brow_y) / thick) ** 4)) * np.exp(-((np.abs(arch) / 1.02) ** 8))
    tint(brow * hairs, hair * 0.8 + 0.1 * skin, 0.95)
    return colour, gloss


def _paint_mouth(subject: Subject, layout: Layout, x: Floats, y: Floats, tint: _Tint, gloss: Floats) -> None:
    side = np.abs(x) / layout.mouth_x
    line_y = layout.mouth_y + 0.022 * subject.smile * side**2 - 0.004
    skin = np.array(subject.skin)
    rosy = skin * np.array([0.92, 0.60, 0.58])
    made_up = np.array([0.68, 0.18, 0.20])
    lips = rosy * (1 - 0.35 * subject.femininity) + made_up * 0.35 * subject.femininity
    taper = np.clip(1 - side**2, 0.0, 1.0)
    bow = 1 - 0.22 * np.exp(-((side / 0.16) ** 2))
    upper = (y > line_y) & (y < line_y + layout.lip_tall * 0.95 * taper**0.7 * bow)
    lower = (y <= line_y) & (y > line_y - layout.lip_tall * 1.25 * taper**0.6)
    tint(upper.astype(np.float64), lips * 0.82, 0.9)
    tint(lower.astype(np.float64), lips, 0.9)
    tint(np.exp(-(((y - line_y) / 0.0065) ** 2)) * _step(-1.03, 0.1, -side), lips * 0.28, 1.0)
    tint(_bump(side, y, 1.02, layout.mouth_y + 0.02 * subject.smile, 0.10, 0.014), skin * 0.55, 0.6)
    tint(_bump(x, y, 0.0, layout.mouth_y - layout.lip_tall * 1.65, 0.07, 0.014), skin * 0.66, 0.55)
    gloss += 0.25 * lower


def _paint_eyes(subject: Subject, layout: Layout, x: Floats, y: Floats, tint: _Tint, gloss: Floats) -> None:
    side = np.abs(x)
    across = (side - layout.eye_x) / layout.eye_wide
    up = y - layout.eye_y - 0.010 * (subject.eye_tilt + 0.3) * across
    taper = np.clip(1 - across**2, 0.0, 1.0)
    lid, floor = layout.eye_tall * taper**0.55, -layout.eye_tall * 0.80 * taper**0.75
    open_eye = (up < lid) & (up > floor) & (np.abs(across) < 1)
    shade = 0.92 - 0.30 * _step(0.35, 0.5, up / layout.eye_tall) - 0.16 * across**2
    tint(open_eye.astype(np.float64), shade[..., None] * np.array([0.93, 0.91, 0.89]), 1.0)
    tint(_bump(across, up, -0.95, -0.003, 0.14, 0.010) * open_eye, (0.70, 0.42, 0.38), 0.8)
    iris_radius = 0.0285
    distance = np.hypot(side - layout.eye_x, up - 0.002)
    inside = _step(-iris_radius, 0.006, -distance) * open_eye
    iris = np.array(subject.iris)
    tint(inside, iris * 0.55, 1.0)
    tint(_step(-iris_radius * 0.80, 0.008, -distance) * open_eye, iris * 1.15, 1.0)
    tint(_step(-iris_radius * 0.42, 0.006, -distance) * open_eye, (0.02, 0.02, 0.02), 1.0)
    glint = np.hypot(x - np.sign(x) * layout.eye_x + 0.010, up - 0.012)
    tint(_step(-0.008, 0.006, -glint) * open_eye, (1.0, 1.0, 1.0), 1.0)
    near = np.abs(across) < 1.08
    lash = 0.0062 * (1 + 0.7 * subject.femininity)
    tint(np.exp(-(((up - lid) / lash) ** 2)) * near, (0.05, 0.035, 0.03), 0.95)
    tint(np.exp(-(((up - floor) / 0.0045) ** 2)) * near, np.array(subject.skin) * 0.42, 0.55)
    crease = up - lid - 0.016 * (1 - 0.3 * across**2)
    tint(np.exp(-((crease / 0.0055) ** 2)) * (np.abs(across) < 0.98), np.array(subject.skin) * 0.55, 0.6)
    gloss += 0.5 * open_eye


def hair_cover(
    subject: Subject, x: Floats, y: Floats, z: Floats, cos: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Where scalp hair grows, 0 to 1, and how far it lifts the surface, share of the radius."""
    ragged = 0.014 * smooth_noise(rng, x.shape, 3) + 0.012 * smooth_noise(rng, x.shape, 9)
    base = 0.315 - 0.02 * subject.forehead
    temple = np.clip(np.abs(x) - 0.18, 0.0, None)
    line = base - 1.4 * temple
    if subject.hair == "receding":
        line = base + 0.10 - 1.0 * np.clip(np.abs(x) - 0.25, 0, None) + 0.06 * _bump(np.abs(x), y, 0.16, 0.35, 0.07, 9)
    elif subject.hair == "bangs":
        line = 0.155 - 0.02 * np.abs(x) + 0.012 * np.sin(x * 70)
    elif subject.hair == "side_part":
        line = base - 0.02 - 1.2 * temple + 0.16 * (x - 0.12) * (x < 0.12) + 0.05 * (x > 0.12)
    elif subject.hair in ("long", "bob"):
        line = base + 0.04 - 0.55 * np.abs(x) - 1.2 * temple
    front = np.clip(line, -0.10, 0.6)
    turn = np.clip((0.30 - cos) / 0.30, 0.0, 1.0)
    sideburn = -0.05 if subject.femininity < 0.5 else 0.0
    behind = np.clip((-0.15 - cos) / 0.30, 0.0, 1.0)
    edge = front * (1 - turn) + sideburn * turn
    edge = edge * (1 - behind) - 0.30 * behind
    if subject.hair == "bald":
        edge = np.where(cos < 0.05, np.where(y > 0.14, 1.0, edge), 1.0)
    cover = _step(0.0, 0.035, y + ragged - edge)
    lift = {
        "bald": 0.01,
        "buzz": 0.015,
        "short": 0.07,
        "side_part": 0.10,
        "bangs": 0.10,
        "bob": 0.12,
        "long": 0.11,
        "bun": 0.045,
        "afro": 0.33,
        "receding": 0.05,
    }[subject.hair]
    volume = lift * (1 + 0.18 * smooth_noise(rng, x.shape, max(3, x.shape[0] // 30)))
    # The lift fades in from the hairline so that hair does not stand up like a wall.
    fade = np.clip((y - edge) / 0.12, 0.0, 1.0) ** 0.6
    strength = 0.55 if subject.hair in ("buzz", "bald") else 1.0
    return np.asarray(cover * strength), np.asarray(volume * fade)


def strands(subject: Subject, turn: Floats, rows: int, rng: np.random.Generator) -> Floats:
    """Colour of hair over a grid of heights and turns round the head: (rows, len(turn), 3)."""
    fine = smooth_noise(rng, (rows, len(turn)), 3) * 0.5
    curly = subject.hair == "afro"
    long = rng.normal(0, 1, len(turn))
    long = np.convolve(long, np.ones(3) / 3, mode="same")[None] + 0 * fine
    tone = 1 + 0.32 * (fine * 2 if curly else 0.5 * fine + 0.6 * long)
    return np.asarray(np.clip(np.array(subject.hair_colour) * np.clip(tone, 0.4, 1.9)[..., None], 0.0, 1.0))


def beard_cover(
    subject: Subject, layout: Layout, x: Floats, y: Floats, frontness: Floats, rng: np.random.Generator
) -> Floats:
    """Where a beard grows, 0 to 1."""
    if subject.beard == "none":
        return np.zeros(x.shape)
    side = np.abs(x)
    lips = (side < layout.mouth_x * 1.02) & (np.abs(y - layout.mouth_y + 0.004) < layout.lip_tall * 1.15)
    moustache = np.exp(-(((y - layout.mouth_y - 0.052 + 0.25 * side) / 0.030) ** 4)) * (side < layout.mouth_x * 1.25)
    chin = _step(0.0, 0.03, layout.mouth_y - 0.035 - y) * (side < layout.mouth_x * 1.15)
    jaw_line = -0.20 - 0.20 * np.clip(0.26 - side, 0, None) / 0.26
    jaw = _step(0.0, 0.05, jaw_line - y + 0.05 * np.clip(side - 0.22, 0, None))
    cover = {
        "stubble": 0.34 * np.maximum(jaw, np.maximum(moustache, chin)),
        "moustache": 0.95 * moustache,
        "goatee": 0.95 * np.maximum(moustache, chin),
        "full": 0.95 * np.maximum(jaw, np.maximum(moustache, chin)),
    }[subject.beard]
    rough = 0.9 + 0.25 * smooth_noise(rng, x.shape, 3)
    return np.clip(np.where(lips, 0.0, cover) * rough, 0.0, 1.0)
