"""Fusion: maps of several levels become one, with the side and the channels of the deepest.

Shallow maps are wider and have fewer channels: each is averaged down to the deepest side and projected to its channels.

Shape legend, at the end of every tensor's name:
    B faces · C channels of the deepest level · H, W its sides · L levels, shallow first
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

FusionKind = Literal["none", "add", "concat", "attention", "top_down"]


class DeepestOnly(nn.Module):
    """No fusion: the deepest map."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W)."""
        return levels[-1]


class AddFusion(nn.Module):
    """The sum of all levels, projected."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.project = _projections(channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W)."""
        return torch.stack(_brought_down(levels, self.project)).sum(0)


class ConcatFusion(nn.Module):
    """All levels beside each other, mixed by one convolution."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(sum(channels), channels[-1], 1, bias=False),
            nn.BatchNorm2d(channels[-1]),
            nn.PReLU(channels[-1]),
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W)."""
        halvings = range(len(levels) - 1, -1, -1)
        fused: Tensor = self.mix(torch.cat([_halve(x, n) for x, n in zip(levels, halvings, strict=True)], dim=1))
        return fused


class AttentionFusion(nn.Module):
    """At every place the levels compete for weight, by a softmax over them.

    Source: Learning Spatial Fusion, arXiv:1911.09516 (adaptively spatial feature fusion).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.project = _projections(channels)
        self.rate = nn.Conv2d(channels[-1], 1, 1, bias=False)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W)."""
        return (torch.stack(self._down(levels)) * self.weights(levels)).sum(0)

    def weights(self, levels: Sequence[Tensor]) -> Tensor:
        """(L, B, 1, H, W), adding up to 1 over the levels."""
        return torch.stack([self.rate(x_BCHW) for x_BCHW in self._down(levels)]).softmax(0)

    def _down(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return _brought_down(levels, self.project)


class TopDownFusion(nn.Module):
    """What the deepest level knows flows up into every shallower one; then all are averaged down and added.

    Source: Feature Pyramid Networks, arXiv:1612.03144 (top-down pathway with lateral connections).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.lateral = _projections(channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[-1], channels[-1], 3, padding=1, bias=False), nn.BatchNorm2d(channels[-1]))
            for _ in channels
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W)."""
        above = self.lateral[-1](levels[-1])
        enriched = [above]
        for x, lateral in zip(reversed(levels[:-1]), reversed(self.lateral[:-1]), strict=True):
            above = lateral(x) + functional.interpolate(above, size=x.shape[2:], mode="nearest")
            enriched.insert(0, above)
        return torch.stack(_brought_down(enriched, self.smooth)).sum(0)


def make_fusion(kind: FusionKind, channels: Sequence[int]) -> nn.Module:
    """A fusion of levels with so many channels each, shallow first."""
    match kind:
        case "none":
            return DeepestOnly()
        case "add":
            return AddFusion(channels)
        case "concat":
            return ConcatFusion(channels)
        case "attention":
            return AttentionFusion(channels)
        case "top_down":
            return TopDownFusion(channels)


def _projections(channels: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(width, channels[-1], 1, bias=False), nn.BatchNorm2d(channels[-1])) for width in channels
    )


def _brought_down(levels: Sequence[Tensor], change: nn.ModuleList) -> list[Tensor]:
    """Each level, averaged down to the deepest side and changed by its own module."""
    last = len(levels) - 1
    return [module(_halve(x, last - index)) for index, (x, module) in enumerate(zip(levels, change, strict=True))]


def _halve(x: Tensor, times: int) -> Tensor:
    # Odd sides are rounded up, as a padded convolution of stride 2 does.
    for _ in range(times):
        x = functional.avg_pool2d(x, 2, ceil_mode=True)
    return x
