"""The DET curve as a picture: SVG, both axes logarithmic."""

import math
from collections.abc import Sequence
from html import escape

_SIDE_PX, _MARGIN_PX = 420, 60
_LEAST = 1e-4


def draw_det(curve: Sequence[tuple[float, float]], *, title: str, mark: tuple[float, float] | None = None) -> str:
    """An SVG document of FNIR over FPIR.

    Args:
        curve: (FPIR, FNIR) pairs, shares; below 1e-4 they are drawn at the edge.
        title: Said above it.
        mark: The operating point chosen.
    """
    ticks = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    parts = []
    for tick in ticks:
        at, low, high = _position(tick), _MARGIN_PX, _MARGIN_PX + _SIDE_PX
        y = _flip(tick)
        parts.append(f'<path d="M{at:.1f} {low}V{high}M{low} {y:.1f}H{high}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{high + 18}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{low - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    points = " ".join(f"{_position(x):.1f},{_flip(y):.1f}" for x, y in curve)
    parts.append(f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="2"/>')
    if mark is not None:
        parts.append(f'<circle cx="{_position(mark[0]):.1f}" cy="{_flip(mark[1]):.1f}" r="5" fill="#c30"/>')
    size = _SIDE_PX + 2 * _MARGIN_PX
    middle = size / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}'
        f'<text x="{middle}" y="30" text-anchor="middle" font-size="14">{escape(title)}</text>'
        f'<text x="{middle}" y="{size - 14}" text-anchor="middle">FPIR: strangers named</text>'
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">FNIR: enrolled missed</text>'
        "</svg>\n"
    )


def _position(share: float) -> float:
    return _MARGIN_PX + _SIDE_PX * (math.log10(max(share, _LEAST)) + 4) / 4


def _flip(share: float) -> float:
    return 2 * _MARGIN_PX + _SIDE_PX - _position(share)
