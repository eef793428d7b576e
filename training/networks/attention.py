"""Attention: where in a map, and in which channels, a face says who it is.

Each kind answers weights that its map is multiplied with, so a map keeps its shape and any kind fits any stage.

Shape legend, at the end of every tensor's name:
    B faces · C channels · H, W sides of the map · P = H·W positions · 1 an axis of one, spread by broadcasting
"""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

AttentionKind = Literal["none", "soft", "spatial", "channel", "both", "hard"]


class Attention(nn.Module, ABC):
    """A map times weights read from it."""

    @abstractmethod
    def weights(self, x_BCHW: Tensor) -> Tensor:
        """Weights that broadcast against the map: (B, C, 1, 1), (B, 1, H, W) or (B, C, H, W)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The weighted map, of the same shape."""
        return x_BCHW * self.weights(x_BCHW)


class ChannelAttention(Attention):
    """Which channels matter, from their means and maxima over the map.

    Source: CBAM, arXiv:1807.06521, section 3 (channel attention module).
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.mix = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))

    def weights(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, 1, 1), each in (0, 1)."""
        mean_BC, maximum_BC = x_BCHW.mean((2, 3)), x_BCHW.amax((2, 3))
        weights_BC: Tensor = torch.sigmoid(self.mix(mean_BC) + self.mix(maximum_BC))
        return weights_BC[:, :, None, None]


class SpatialAttention(Attention):
    """Which places matter, each on its own, from the mean and maximum over channels and the neighbours'.

    Source: CBAM, arXiv:1807.06521, section 3 (spatial attention module).
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.look = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def weights(self, x_BCHW: Tensor) -> Tensor:
        """(B, 1, H, W), each in (0, 1)."""
        seen_B2HW = torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.look(seen_B2HW))


class BothAttention(Attention):
    """Channels first, then places in what is left: CBAM's order."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def weights(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W), each in (0, 1)."""
        channel_BC11 = self.channel.weights(x_BCHW)
        product: Tensor = channel_BC11 * self.spatial.weights(x_BCHW * channel_BC11)
        return product


class SoftAttention(Attention):
    """Places compete: a softmax over the whole map, scaled so that the weights' mean is 1.

    Source: Show, Attend and Tell, arXiv:1502.03044 (soft attention).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # No bias: it would shift all places alike, which a softmax does not feel.
        self.rate = nn.Conv2d(channels, 1, 1, bias=False)

    def weights(self, x_BCHW: Tensor) -> Tensor:
        """(B, 1, H, W), positive, with mean 1 over the map."""
        rating_B1P: Tensor = self.rate(x_BCHW).flatten(2)
        share_B1P = rating_B1P.softmax(dim=2) * rating_B1P.shape[2]
        return share_B1P.reshape(x_BCHW.shape[0], 1, *x_BCHW.shape[2:])


class HardAttention(Attention):
    """Only the best-rated share of all places is seen; the rest is zero.

    The choice itself has no gradient: backwards it is taken for the sigmoid of the rating (straight-through).

    Source: arXiv:1308.3432 (straight-through estimator).
    """

    def __init__(self, channels: int, keep: float = 0.5) -> None:
        super().__init__()
        self.rate = nn.Conv2d(channels, 1, 1)
        self._keep = keep

    def weights(self, x_BCHW: Tensor) -> Tensor:
        """(B, 1, H, W), each 0 or 1."""
        rating_B1HW: Tensor = self.rate(x_BCHW)
        kept = math.ceil(self._keep * x_BCHW.shape[2] * x_BCHW.shape[3])
        least_B11 = rating_B1HW.flatten(2).topk(kept, dim=2).values[..., -1:]
        hard_B1HW = (rating_B1HW >= least_B11[..., None]).to(x_BCHW.dtype)
        if not torch.is_grad_enabled():
            return hard_B1HW
        soft_B1HW = torch.sigmoid(rating_B1HW)
        return hard_B1HW + soft_B1HW - soft_B1HW.detach()


def make_attention(kind: AttentionKind, channels: int) -> nn.Module:
    """One attention for maps of so many channels; the identity for "none"."""
    match kind:
        case "none":
            return nn.Identity()
        case "soft":
            return SoftAttention(channels)
        case "spatial":
            return SpatialAttention()
        case "channel":
            return ChannelAttention(channels)
        case "both":
            return BothAttention(channels)
        case "hard":
            return HardAttention(channels)
