"""What may change in a window without changing what is done in it.

Every change is drawn once a window and holds for all its frames, as a camera or a light would;
only noise is new in each frame. Shape legend as in training/networks/action.py; X = N·T pictures.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.config import AugmentationParams

# In a mirror only the speed to the right changes sign; see services.perception.windows.measure_motion.
_MIRRORED_MOTION = (-1.0, 1.0, 1.0, 1.0, 1.0)
# Of the windows that are recoloured.
_INVERTED_SHARE = 0.15


def augment(
    rgb_NTHWC: Tensor, motion_NTM: Tensor, params: AugmentationParams, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror, move, zoom, relight, tint, recolour, blur, cover and add noise.

    Args:
        rgb_NTHWC: (N, T, H, W, 3) uint8.
        motion_NTM: (N, T, M) float32.
        params: How much of each.
        generator: Its state decides everything drawn.

    Returns:
        New pictures (uint8) and motion (float32) of the same shapes.
    """
    count, frames, height, width, _ = rgb_NTHWC.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    flipped_N = draw(count) < params.flip_probability
    mirror_NM = torch.where(flipped_N[:, None], torch.tensor(_MIRRORED_MOTION), 1.0)
    moved_NTM = motion_NTM * mirror_NM[:, None]

    zoom_N = 1 + params.zoom * (2 * draw(count) - 1)
    affine_N23 = torch.zeros(count, 2, 3)
    affine_N23[:, 0, 0] = zoom_N * torch.where(flipped_N, -1.0, 1.0)
    affine_N23[:, 1, 1] = zoom_N
    affine_N23[:, :, 2] = 2 * params.shift * (2 * draw(count, 2) - 1)
    grid_NHW2 = functional.affine_grid(affine_N23, [count, 1, height, width], align_corners=False)
    stacked_NCHW = rgb_NTHWC.permute(0, 1, 4, 2, 3).flatten(1, 2).float()
    moved_NCHW = functional.grid_sample(stacked_NCHW, grid_NHW2, align_corners=False)
    x_NTCHW = moved_NCHW.reshape(count, frames, 3, height, width)

    gain_N = 1 + params.light * (2 * draw(count) - 1)
    tint_NC = 1 + params.colour * (2 * draw(count, 3) - 1)
    offset_N = 128 * params.light * (2 * draw(count) - 1)
    x_NTCHW = x_NTCHW * (gain_N[:, None] * tint_NC)[:, None, :, None, None] + offset_N[:, None, None, None, None]

    recoloured_N = draw(count) < params.recolour_probability
    x_NTCHW[recoloured_N] = _recolour(x_NTCHW[recoloured_N], generator)

    blurred_N = draw(count) < params.blur_probability
    if blurred_N.any():
        sharp_XCHW = x_NTCHW[blurred_N].flatten(0, 1)
        soft_XCHW = functional.avg_pool2d(sharp_XCHW, 3, stride=1, padding=1, count_include_pad=False)
        x_NTCHW[blurred_N] = soft_XCHW.reshape(-1, frames, 3, height, width)

    for window in torch.nonzero(draw(count) < params.erase_probability).flatten().tolist():
        side_2, corner_2 = 0.15 + 0.2 * draw(2), draw(2)
        top, left = int(corner_2[0] * height), int(corner_2[1] * width)
        bottom, right = top + int(side_2[0] * height), left + int(side_2[1] * width)
        x_NTCHW[window, :, :, top:bottom, left:right] = 255 * draw(3)[:, None, None]

    deviation_N = params.noise * draw(count)
    noise_NTCHW = torch.randn(x_NTCHW.shape, generator=generator)
    x_NTCHW = x_NTCHW + deviation_N[:, None, None, None, None] * noise_NTCHW
    return x_NTCHW.clamp(0, 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2), moved_NTM


def _recolour(x_NTCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Give each window other colours: its channels in another order, mixed more or less, and now and then inverted."""
    count = len(x_NTCHW)
    order_NCC = functional.one_hot(torch.rand(count, 3, generator=generator).argsort(dim=1), 3).float()
    mixture_NCC = torch.rand(count, 3, 3, generator=generator)
    mixture_NCC = mixture_NCC / mixture_NCC.sum(dim=2, keepdim=True)
    pure_N11 = torch.rand(count, 1, 1, generator=generator)
    recolour_NCC = pure_N11 * order_NCC + (1 - pure_N11) * mixture_NCC
    recoloured_NTCHW = torch.einsum("ntchw,ndc->ntdhw", x_NTCHW, recolour_NCC)
    inverted_N = torch.rand(count, generator=generator) < _INVERTED_SHARE
    recoloured_NTCHW[inverted_N] = 255 - recoloured_NTCHW[inverted_N]
    return recoloured_NTCHW
