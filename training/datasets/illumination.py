"""Illumination correction: a chip as it would look under even light."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class EvenLight(nn.Module):
    """Gamma, difference of Gaussians, contrast equalisation. A module, so that it can stand inside an exported graph.

    Shape legend: N faces · C channels · S side in pixels.

    Source: Tan & Triggs, "Enhanced local texture feature sets", IEEE TIP 2010, section III.
    """

    narrow: Tensor
    wide: Tensor

    def __init__(self, *, gamma: float = 0.2, narrow_px: float = 1.0, wide_px: float = 2.0) -> None:
        super().__init__()
        self._gamma = gamma
        self.register_buffer("narrow", _gaussian(narrow_px))
        self.register_buffer("wide", _gaussian(wide_px))

    def forward(self, chips_NCSS: Tensor) -> Tensor:
        """(N, C, S, S) pixels 0-255 to pixels of the same shape and range, grey 127.5 on average."""
        x = (chips_NCSS.clamp(0, 255) / 255 + 1e-3) ** self._gamma
        x = _filter(x, self.narrow) - _filter(x, self.wide)
        x = x / _size(x.abs())
        # Once more without the few extreme pixels, which weigh too much in the first measure.
        x = x / _size(x.abs().clamp(max=_LIMIT))
        return 127.5 * (1 + torch.tanh(x / _LIMIT))


_LIMIT, _POWER = 10.0, 0.1


def _size(magnitude: Tensor) -> Tensor:
    """How large a face's pixels are, of which a low power hears the many small ones."""
    return (magnitude**_POWER).mean((1, 2, 3), keepdim=True).clamp(min=1e-6) ** (1 / _POWER)


def _gaussian(deviation_px: float) -> Tensor:
    radius = int(4 * deviation_px)
    places = torch.arange(-radius, radius + 1.0)
    weights = torch.exp(-(places**2) / (2 * deviation_px**2))
    return weights / weights.sum()


def _filter(x: Tensor, weights: Tensor) -> Tensor:
    channels, radius = x.shape[1], len(weights) // 2
    x = functional.pad(x, (radius,) * 4, mode="replicate")
    x = functional.conv2d(x, weights.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(x, weights.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
