"""What may happen to a face between the world and a chip, step by step; who it is stays the same.

Each step takes (N, 3, S, S) float pixels, 0-255, and changes the faces it draws; `augment_faces` runs all of them.

Shape legend: N faces · S side in pixels.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.config import FaceAugmentationParams

Step = Callable[[Tensor, torch.Generator], Tensor]

_GREY = (0.299, 0.587, 0.114)
# A surgical mask covers a chip from the middle of the nose down; shares of the side.
_MASK_TOP, _MASK_LEFT, _MASK_RIGHT = 0.58, 0.14, 0.86


def augment_faces(
    canvases_NSS3: Tensor, chip_px: int, params: FaceAugmentationParams, generator: torch.Generator
) -> Tensor:
    """Every step in the order of the light's way: pose, cover, light, lens, sensor, file.

    Args:
        canvases_NSS3: uint8 RGB, chips with their margin.
        chip_px: Side of the chip in the middle.
        params: How often and how strongly.
        generator: Its state decides everything drawn.

    Returns:
        (N, 3, chip_px, chip_px) float32, 0-255.
    """
    x = canvases_NSS3.permute(0, 3, 1, 2).float()
    x = move(x, chip_px, params, generator)
    x = _sometimes(x, params.mask_probability, wear_mask, generator)
    x = _sometimes(x, params.occlusion_probability, cover, generator)
    x = relight(x, params.light, generator)
    x = _sometimes(x, params.grey_probability, turn_grey, generator)
    x = tint(x, params.colour, generator)
    x = _sometimes(x, params.blur_probability, blur, generator)
    x = _sometimes(x, params.low_resolution_probability, lower_resolution, generator)
    x = add_noise(x, params.noise, generator)
    return _sometimes(x, params.jpeg_probability, compress, generator)


def crop_chips(canvases_NSS3: Tensor, chip_px: int) -> Tensor:
    """The chips as they are used: (N, 3, chip_px, chip_px) float32."""
    margin_px = (canvases_NSS3.shape[1] - chip_px) // 2
    inside = slice(margin_px, margin_px + chip_px)
    return canvases_NSS3[:, inside, inside].permute(0, 3, 1, 2).float()


def move(x: Tensor, chip_px: int, params: FaceAugmentationParams, generator: torch.Generator) -> Tensor:
    """Mirror, turn, zoom and shift a canvas, and cut the chip out of it."""
    count = len(x)
    mirror = torch.where(torch.rand(count, generator=generator) < params.flip_probability, -1.0, 1.0)
    angle = math.radians(params.turn_degrees) * _balanced(generator, count)
    zoom = (1 + params.zoom * _balanced(generator, count)) * chip_px / x.shape[2]
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = mirror * zoom * angle.cos(), -zoom * angle.sin()
    affine[:, 1, 0], affine[:, 1, 1] = mirror * zoom * angle.sin(), zoom * angle.cos()
    affine[:, :, 2] = 2 * params.shift * _balanced(generator, count, 2) * chip_px / x.shape[2]
    grid = functional.affine_grid(affine, [count, 3, chip_px, chip_px], align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def relight(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gain, gamma, and light from one side."""
    count, side_px = len(x), x.shape[2]
    gain, slope_x, slope_y = (strength * _balanced(generator, count, 1, 1, 1) for _ in range(3))
    gamma = (1.5 * strength * _balanced(generator, count, 1, 1, 1)).exp()
    ramp = torch.linspace(-1, 1, side_px)
    shade = 1 + gain + slope_x * ramp + slope_y * ramp[:, None]
    return (255 * (x / 255).clamp(0, 1) ** gamma * shade).clamp(0, 255)


def tint(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Another colour temperature: a gain of each channel."""
    return (x * (1 + strength * _balanced(generator, len(x), 3, 1, 1))).clamp(0, 255)


def turn_grey(x: Tensor, generator: torch.Generator) -> Tensor:
    """Luminance in all three channels, as of a camera at night."""
    return (x * torch.tensor(_GREY)[:, None, None]).sum(1, keepdim=True).expand_as(x)


def add_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Sensor noise with a deviation of up to `strength` grey levels."""
    deviation = strength * torch.rand(len(x), 1, 1, 1, generator=generator)
    return (x + deviation * torch.randn(x.shape, generator=generator)).clamp(0, 255)


def blur(x: Tensor, generator: torch.Generator) -> Tensor:
    """Out of focus, or moving: a Gaussian along each axis, from half a pixel to 1.5 % of the side more."""
    side_px = x.shape[2]
    radius = max(1, round(0.05 * side_px))
    places = torch.arange(-radius, radius + 1.0)
    deviation = 0.5 + 0.015 * side_px * torch.rand(len(x), 2, 1, generator=generator)
    kernels = torch.exp(-(places**2) / (2 * deviation**2))
    kernels = kernels / kernels.sum(-1, keepdim=True)
    flat = functional.pad(x.transpose(0, 1), (radius,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernels[:, 0].reshape(-1, 1, 1, 2 * radius + 1), groups=len(x))
    return functional.conv2d(flat, kernels[:, 1].reshape(-1, 1, 2 * radius + 1, 1), groups=len(x)).transpose(0, 1)


def lower_resolution(x: Tensor, generator: torch.Generator) -> Tensor:
    """Far away: shrunk to between 15 and 60 % of the side and enlarged again."""
    side_px = x.shape[2]
    shares = 0.15 + 0.45 * torch.rand(len(x), generator=generator)
    far = [
        functional.interpolate(face[None], size=max(8, round(share * side_px)), mode="area")
        for face, share in zip(x, shares.tolist(), strict=True)
    ]
    return torch.cat([functional.interpolate(face, size=side_px, mode="bilinear") for face in far])


def compress(x: Tensor, generator: torch.Generator) -> Tensor:
    """Saved as JPEG of quality 20 to 80."""
    qualities = (20 + 60 * torch.rand(len(x), generator=generator)).int().tolist()
    return torch.stack([_through_jpeg(face, quality) for face, quality in zip(x, qualities, strict=True)])


def cover(x: Tensor, generator: torch.Generator) -> Tensor:
    """Something of one colour in front of 10 to 40 % of each side."""
    covered, side_px = x.clone(), x.shape[2]
    for face in covered:
        height, width, top, left, *colour = torch.rand(7, generator=generator).tolist()
        high, wide = (round((0.1 + 0.3 * share) * side_px) for share in (height, width))
        down, across = round(top * (side_px - high)), round(left * (side_px - wide))
        face[:, down : down + high, across : across + wide] = 255 * torch.tensor(colour)[:, None, None]
    return covered


def wear_mask(x: Tensor, generator: torch.Generator) -> Tensor:
    """A surgical mask: everything below the middle of the nose under a pale trapezium with rounded shade."""
    side_px = x.shape[2]
    down = (torch.arange(side_px) + 0.5)[:, None] / side_px
    across = (torch.arange(side_px) + 0.5)[None] / side_px
    narrowing = 0.12 * (down - _MASK_TOP).clamp(min=0) / (1 - _MASK_TOP)
    inside = (down > _MASK_TOP) & (across > _MASK_LEFT + narrowing) & (across < _MASK_RIGHT - narrowing)
    shade = 1 - 0.5 * (across - 0.5).abs()
    colours = 120 + 130 * torch.rand(len(x), 3, 1, 1, generator=generator)
    return torch.where(inside, (colours * shade).clamp(0, 255), x)


def _sometimes(x: Tensor, probability: float, step: Step, generator: torch.Generator) -> Tensor:
    chosen = torch.rand(len(x), generator=generator) < probability
    if not chosen.any():
        return x
    changed = x.clone()
    changed[chosen] = step(x[chosen], generator)
    return changed


def _balanced(generator: torch.Generator, *shape: int) -> Tensor:
    return 2 * torch.rand(*shape, generator=generator) - 1


def _through_jpeg(face: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(face.permute(1, 2, 0).byte().numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float()
