"""Words on a plate: small pictures to lay over a frame."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from services.perception.frame import Picture

FONT_FILE = "DejaVuSansCondensed-Bold.ttf"
BACKGROUND = "#14161a"
INK = "#ffffff"
FAINT_INK = "#d5d9e0"
ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Plate:
    """What a plate says.

    Attributes:
        lines: Top one first; later ones smaller.
        colour: "#RRGGBB" of the stripe that ties the plate to its box; None for no stripe.
        text_px: Height of the top line's letters.
        longest_px: Lines are cut with an ellipsis beyond this width.
    """

    lines: tuple[str, ...]
    colour: str | None
    text_px: int
    longest_px: int


@lru_cache(maxsize=256)
def draw_plate(plate: Plate) -> Picture:
    """Draw a plate: RGB, uint8, (H, W, 3), opaque. The same plate is drawn once."""
    fonts = [load_font(plate.text_px if row == 0 else max(8, round(plate.text_px * 0.84))) for row in range(2)]
    gap = max(2, plate.text_px // 4)
    stripe_px = gap if plate.colour else 0
    rows = [(fonts[min(row, 1)], text) for row, text in enumerate(plate.lines)]
    rows = [(font, _shorten(text, font, plate.longest_px)) for font, text in rows]
    heights = [sum(font.getmetrics()) for font, _ in rows]
    width_px = stripe_px + 2 * gap + round(max(font.getlength(text) for font, text in rows))
    image = Image.new("RGB", (width_px, sum(heights) + gap), BACKGROUND)
    pen = ImageDraw.Draw(image)
    if plate.colour:
        pen.rectangle((0, 0, stripe_px - 1, image.height), fill=plate.colour)
    top = gap // 2
    for row, ((font, text), height) in enumerate(zip(rows, heights, strict=True)):
        pen.text((stripe_px + gap, top), text, font=font, fill=INK if row == 0 else FAINT_INK)
        top += height
    picture = np.asarray(image)
    picture.setflags(write=False)
    return picture


@lru_cache(maxsize=8)
def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """The font that travels with the package, so the video looks the same on every machine."""
    return ImageFont.truetype(BytesIO(files("services.reports").joinpath(FONT_FILE).read_bytes()), size_px)


def spell(text: str) -> str:
    r"""The text in letters that the font has: any other is spelt as its code, as in "\u5f20".

    A font for every script is larger than the rest of the package; a box in place of a letter would make
    everyone of that script one and the same person. The page and the files have the letters.
    """
    return "".join(letter if _has_glyph(letter) else _escape(letter) for letter in text)


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    # Fonts answer for what they lack with one and the same box; U+FFFF is no character, so every font lacks it.
    font = load_font(24)
    return letter.isspace() or font.getmask(letter).getbbox() is None or bytes(font.getmask(letter)) != _missing(font)


def _missing(font: ImageFont.FreeTypeFont) -> bytes:
    return bytes(font.getmask("\uffff"))


def _escape(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()


def rgb_of(colour: str) -> tuple[int, ...]:
    """Red, green, blue of "#RRGGBB", 0 to 255."""
    return ImageColor.getrgb(colour)[:3]


def _shorten(text: str, font: ImageFont.FreeTypeFont, longest_px: int) -> str:
    one_line = spell(" ".join(text.split())) or ELLIPSIS
    if font.getlength(one_line) <= longest_px:
        return one_line
    kept = one_line
    while kept and font.getlength(kept + ELLIPSIS) > longest_px:
        kept = kept[:-1]
    return kept + ELLIPSIS
