"""Invented people: everything that makes one look like themselves in every clip and picture."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

HairStyle = Literal["bald", "buzz", "short", "side_part", "bangs", "bob", "long", "bun", "afro", "receding"]
BeardStyle = Literal["none", "stubble", "moustache", "goatee", "full"]
GlassesStyle = Literal["none", "round", "square"]
Colour = tuple[float, float, float]
"""Linear-looking RGB reflectance, 0 to 1."""

_SKINS: tuple[Colour, ...] = (
    (0.92, 0.76, 0.67),
    (0.87, 0.68, 0.55),
    (0.78, 0.58, 0.44),
    (0.66, 0.46, 0.33),
    (0.50, 0.34, 0.24),
    (0.36, 0.24, 0.17),
)
_HAIRS: tuple[Colour, ...] = (
    (0.06, 0.05, 0.05),
    (0.16, 0.10, 0.07),
    (0.30, 0.19, 0.11),
    (0.68, 0.52, 0.30),
    (0.52, 0.22, 0.10),
    (0.62, 0.61, 0.60),
)
_IRISES: tuple[Colour, ...] = ((0.18, 0.10, 0.06), (0.30, 0.20, 0.10), (0.28, 0.42, 0.55), (0.30, 0.42, 0.28))
_CLOTHES: tuple[Colour, ...] = (
    (0.75, 0.12, 0.12),
    (0.13, 0.25, 0.55),
    (0.12, 0.40, 0.22),
    (0.85, 0.85, 0.82),
    (0.62, 0.64, 0.68),
    (0.80, 0.60, 0.15),
    (0.45, 0.20, 0.45),
    (0.45, 0.62, 0.75),
    (0.55, 0.35, 0.20),
    (0.85, 0.45, 0.20),
)
# Trousers are darker than any floor: what blends into it, the person detector misses.
_TROUSERS: tuple[Colour, ...] = (
    (0.10, 0.13, 0.26),
    (0.05, 0.05, 0.06),
    (0.13, 0.08, 0.06),
    (0.14, 0.20, 0.40),
    (0.08, 0.14, 0.13),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One invented person. Shape fields without a unit are signed deviations from the mean, roughly -1 to 1.

    Attributes:
        subject_id: Stable name, made from the seed alone.
        seed: Seed that draws all else; also seeds fine texture.
        femininity: 0 to 1: softens brow, jaw and nose, reddens lips.
        age: 0 to 1: folds, wrinkles, sagging.
        height_m: Stature.
        build: Girth.
        two_tone: Whether sleeves have the accent colour of the top.
    """

    subject_id: str
    seed: int
    femininity: float
    age: float
    height_m: float
    build: float
    face_width: float
    jaw_width: float
    chin_length: float
    cheek: float
    forehead: float
    eye_spacing: float
    eye_size: float
    eye_tilt: float
    eye_height: float
    brow_thickness: float
    brow_height: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    nose_depth: float
    mouth_width: float
    mouth_height: float
    lip_fullness: float
    smile: float
    skin: Colour
    iris: Colour
    hair: HairStyle
    hair_colour: Colour
    beard: BeardStyle
    glasses: GlassesStyle
    top: Colour
    top_accent: Colour
    two_tone: bool
    long_sleeves: bool
    trousers: Colour
    shoes: Colour


def sample_subject(seed: int) -> Subject:
    """Draw a subject. The same seed gives the same person for ever; different seeds share nothing but chance."""
    rng = np.random.default_rng([seed, 0x5B])

    def deviation() -> float:
        return float(np.clip(rng.normal(0.0, 0.85), -1.5, 1.5))

    def blend(palette: tuple[Colour, ...], place: float) -> Colour:
        below = min(int(place), len(palette) - 2)
        share = place - below
        red, green, blue = (float(a + (b - a) * share) for a, b in zip(palette[below], palette[below + 1], strict=True))
        return (red, green, blue)

    def pick(palette: tuple[Colour, ...]) -> Colour:
        red, green, blue = (
            float(np.clip(c + rng.normal(0.0, 0.03), 0.02, 0.95)) for c in palette[rng.integers(len(palette))]
        )
        return (red, green, blue)

    woman = bool(rng.random() < 0.5)
    femininity = float(rng.uniform(0.7, 1.0) if woman else rng.uniform(0.0, 0.3))
    age = float(rng.beta(1.2, 1.6))
    tone = float(rng.uniform(0.0, len(_SKINS) - 1))
    styles: tuple[HairStyle, ...] = (
        ("short", "bangs", "bob", "long", "long", "bun", "afro", "side_part")
        if woman
        else ("bald", "buzz", "short", "short", "side_part", "receding", "afro", "bangs")
    )
    hair = styles[int(rng.integers(len(styles)))]
    dark_only = tone > 2.8
    hair_index = int(rng.integers(2 if dark_only else 5))
    if age > 0.65:
        hair_index = 5
    beards: tuple[BeardStyle, ...] = get_args(BeardStyle)
    beard: BeardStyle = "none" if woman else beards[int(rng.integers(len(beards)))]
    glasses_styles: tuple[GlassesStyle, ...] = ("none", "none", "none", "round", "square")
    return Subject(
        subject_id=f"subject-{seed:05d}",
        seed=seed,
        femininity=femininity,
        age=age,
        height_m=float(np.clip(rng.normal(1.66 if woman else 1.78, 0.06), 1.52, 1.95)),
        build=deviation(),
        face_width=deviation(),
        jaw_width=deviation(),
        chin_length=deviation(),
        cheek=deviation(),
        forehead=deviation(),
        eye_spacing=deviation(),
        eye_size=deviation(),
        eye_tilt=deviation(),
        eye_height=deviation(),
        brow_thickness=deviation(),
        brow_height=deviation(),
        brow_tilt=deviation(),
        nose_length=deviation(),
        nose_width=deviation() + 0.12 * (tone - 2.5),
        nose_depth=deviation(),
        mouth_width=deviation(),
        mouth_height=deviation(),
        lip_fullness=deviation() + 0.15 * (tone - 2.0),
        smile=deviation(),
        skin=blend(_SKINS, tone),
        iris=_IRISES[0] if dark_only else _IRISES[int(rng.integers(len(_IRISES)))],
        hair=hair,
        hair_colour=_HAIRS[hair_index],
        beard=beard,
        glasses=glasses_styles[int(rng.integers(len(glasses_styles)))],
        top=pick(_CLOTHES),
        top_accent=pick(_CLOTHES),
        two_tone=bool(rng.random() < 0.5),
        long_sleeves=bool(rng.random() < 0.6),
        trousers=pick(_TROUSERS),
        shoes=pick(((0.08, 0.07, 0.07), (0.75, 0.74, 0.72), (0.28, 0.17, 0.10))),
    )
