"""Faces as a network meets them, and where it looks: pictures for a run's record."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional


def draw_faces(chips_N3SS: Tensor, path: Path, *, columns: int = 8) -> None:
    """Chips, 0-255, side by side in rows, as a PNG."""
    count, _, side_px, _ = chips_N3SS.shape
    rows = -(-count // columns)
    sheet = torch.zeros(3, rows * side_px, columns * side_px)
    for index, chip in enumerate(chips_N3SS):
        top, left = index // columns * side_px, index % columns * side_px
        sheet[:, top : top + side_px, left : left + side_px] = chip
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()).save(path)


def shade_by_attention(chips_N3SS: Tensor, weights_NHW: Tensor) -> Tensor:
    """Chips darkened where a network looks least; each map is stretched to its own range."""
    wide_N1SS = functional.interpolate(weights_NHW[:, None], size=chips_N3SS.shape[2], mode="bilinear")
    low, high = wide_N1SS.amin((2, 3), keepdim=True), wide_N1SS.amax((2, 3), keepdim=True)
    return chips_N3SS * (0.25 + 0.75 * (wide_N1SS - low) / (high - low).clamp(min=1e-6))
