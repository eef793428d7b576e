"""Views: pictures made of few faces that ask a teacher about far more than those few.

A teacher answers for any picture. Faces blended with one another, part by part or as a whole, and bent a little, are
people who do not exist; what the teacher says of them teaches its space to a student as real ones would.

Shape legend: N views · S side in pixels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

# Shares of the views that show one face, and two blended as a whole; the rest are blended by a patchy mask.
SINGLE_SHARE, WHOLE_SHARE = 0.35, 0.3
_TURN_RAD, _ZOOM, _STRETCH, _SHIFT = math.radians(4), 0.06, 0.06, 0.02
_BEND, _BEND_PLACES, _MASK_PLACES, _MASK_SHARPNESS = 0.026, 5, 4, 5.0


def draw_views(canvases_NS1: Tensor, others_NS1: Tensor, chip_px: int, generator: torch.Generator) -> Tensor:
    """Blend, bend, turn and cut.

    Args:
        canvases_NS1: (N, 1, S, S) float grey aligned faces with their margin, 0-255.
        others_NS1: As many, to blend them with.
        chip_px: Side of the views.
        generator: Its state decides everything drawn.

    Returns:
        (N, 1, chip_px, chip_px) float32 whole numbers, 0-255.
    """
    count, side_px = len(canvases_NS1), canvases_NS1.shape[2]
    one, other = (_mirror_some(x, generator) for x in (canvases_NS1, others_NS1))
    kind = torch.rand(count, 1, 1, 1, generator=generator)
    whole = 0.25 + 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    places = torch.randn(count, 1, _MASK_PLACES, _MASK_PLACES, generator=generator)
    patchy = torch.sigmoid(_MASK_SHARPNESS * _stretch(places, side_px))
    share = torch.where(kind < SINGLE_SHARE, 0.0, torch.where(kind < SINGLE_SHARE + WHOLE_SHARE, whole, patchy))
    blended = one * (1 - share) + _in_the_light_of(one, other) * share
    return _bend(blended, chip_px, generator).clamp(0, 255).round()


def worsen(views_N1SS: Tensor, generator: torch.Generator) -> Tensor:
    """What a student is shown of a view its teacher saw clearly: other light, less detail, noise."""
    count, side_px = len(views_N1SS), views_N1SS.shape[2]

    def some() -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).float()

    def swing(size: float) -> Tensor:
        return size * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)

    x = views_N1SS * (1 + some() * swing(0.25)) + some() * swing(30.0)
    blurred = torch.rand(count, generator=generator) < 0.15
    if blurred.any():
        share = 0.35 + 0.4 * float(torch.rand((), generator=generator))
        far = functional.interpolate(x[blurred], size=round(share * side_px), mode="area")
        x[blurred] = functional.interpolate(far, size=side_px, mode="bilinear")
    deviation = some() * 6 * torch.rand(count, 1, 1, 1, generator=generator)
    return (x + deviation * torch.randn(x.shape, generator=generator)).clamp(0, 255)


def _mirror_some(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(-1), x)


def _in_the_light_of(one: Tensor, other: Tensor) -> Tensor:
    """`other` with the brightness and contrast of `one`."""
    (mean, deviation), (own_mean, own_deviation) = (
        (x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True).clamp(min=1.0)) for x in (one, other)
    )
    return (other - own_mean) / own_deviation * deviation + mean


def _bend(x: Tensor, chip_px: int, generator: torch.Generator) -> Tensor:
    count, scale = len(x), chip_px / x.shape[2]

    def swing(size: float) -> Tensor:
        return 1 + size * (2 * torch.rand(count, generator=generator) - 1)

    angle = _TURN_RAD * torch.randn(count, generator=generator)
    zoom, stretch = swing(_ZOOM), swing(_STRETCH)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = angle.cos() * zoom * stretch, -angle.sin() * zoom
    affine[:, 1, 0], affine[:, 1, 1] = angle.sin() * zoom, angle.cos() * zoom / stretch
    affine[:, :, 2] = _SHIFT * torch.randn(count, 2, generator=generator)
    affine[:, :, :2] *= scale
    grid = functional.affine_grid(affine, [count, 1, chip_px, chip_px], align_corners=False)
    bends = _BEND * torch.randn(count, 2, _BEND_PLACES, _BEND_PLACES, generator=generator)
    grid = grid + _stretch(bends, chip_px).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _stretch(x: Tensor, side_px: int) -> Tensor:
    return functional.interpolate(x, size=side_px, mode="bicubic", align_corners=True)
