"""FaceNetwork: aligned chips to embeddings; residual stages with attention where wanted, and fusion of their levels.

Shape legend, at the end of every tensor's name:
    B faces · C channels · S side of the chip in pixels · H, W sides of a map · D numbers of an embedding
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.attention import Attention, AttentionKind, make_attention
from training.networks.fusion import FusionKind, make_fusion

Depth = Literal[18, 34, 50, 100]
STAGES = ("stage1", "stage2", "stage3", "stage4")
# Blocks of each stage. Source: ArcFace's iresnet (arXiv:1801.07698), the numbers as in its public models.
_BLOCKS: Mapping[Depth, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
}


@dataclass(frozen=True, slots=True)
class FaceShape:
    """The size and the parts of a face network.

    Attributes:
        depth: 18, 34, 50 or 100, as ArcFace's networks are named.
        width: Channels of the first stage; each later one has twice as many. 64 in the literature.
        embedding: Numbers of an embedding.
        attention: Kind by stage name ("stage1" to "stage4"), after the stage; stages not named have none.
        fusion: How the levels of the stages become one map.
        second_channels: Of a second picture (depth, infrared) with a stem of its own; 0 without one.
        eight_bit: Whether embeddings are whole numbers from -127 to 127, a byte each.
        dropout: Before the embedding.
    """

    depth: Depth = 18
    width: int = 64
    embedding: int = 512
    attention: Mapping[str, AttentionKind] | None = None
    fusion: FusionKind = "none"
    second_channels: int = 0
    eight_bit: bool = False
    dropout: float = 0.0


class FaceNetwork(nn.Module):
    """Chips, RGB 0-255, to embeddings. Scaling is inside, so an engine is fed what the aligner gives.

    Source: ArcFace, arXiv:1801.07698 (improved residual units, BN-dropout-FC-BN head).
    """

    def __init__(self, shape: FaceShape, size_px: int) -> None:
        """Make one for square chips of a side.

        Raises:
            ValueError: Attention is asked for at a stage that does not exist.
        """
        super().__init__()
        attention = dict(shape.attention or {})
        if unknown := set(attention) - set(STAGES):
            raise ValueError(f"attention at {', '.join(sorted(unknown))}: the stages are {', '.join(STAGES)}")
        channels = [shape.width * 2**index for index in range(len(STAGES))]
        self.stem = Stem(3, shape.width)
        self.second_stem = Stem(shape.second_channels, shape.width) if shape.second_channels else None
        self.join = nn.Conv2d(2 * shape.width, shape.width, 1, bias=False) if shape.second_channels else None
        self.stages, self.attention = nn.ModuleDict(), nn.ModuleDict()
        for name, before, after, blocks in zip(
            STAGES, (shape.width, *channels), channels, _BLOCKS[shape.depth], strict=False
        ):
            rest = [IrBlock(after, after, stride=1) for _ in range(blocks - 1)]
            self.stages[name] = nn.Sequential(IrBlock(before, after, stride=2), *rest)
            self.attention[name] = make_attention(attention.get(name, "none"), after)
        self.fusion = make_fusion(shape.fusion, channels)
        side = math.ceil(size_px / 2 ** len(STAGES))
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels[-1]),
            nn.Dropout(shape.dropout),
            nn.Flatten(),
            nn.Linear(channels[-1] * side**2, shape.embedding, bias=False),
            nn.BatchNorm1d(shape.embedding),
        )
        self.round = EightBit() if shape.eight_bit else nn.Identity()

    def forward(self, chips_B3SS: Tensor, second_BCSS: Tensor | None = None) -> Tensor:
        """Embed.

        Args:
            chips_B3SS: RGB, 0-255.
            second_BCSS: Aligned with the chips, 0-255; for networks with a second stem only.

        Returns:
            (B, D), not of unit length.
        """
        fused_BCHW = self.fusion(self._levels(chips_B3SS, second_BCSS))
        embeddings_BD: Tensor = self.round(self.head(fused_BCHW))
        return embeddings_BD

    def attention_maps(self, chips_B3SS: Tensor, second_BCSS: Tensor | None = None) -> dict[str, Tensor]:
        """Where each attentive stage looks: (B, H, W) by stage, the mean over channels of its weights."""
        maps: dict[str, Tensor] = {}
        x = self._stem(chips_B3SS, second_BCSS)
        for name, stage in self.stages.items():
            x = stage(x)
            attention = self.attention[name]
            if isinstance(attention, Attention):
                maps[name] = attention.weights(x).expand(-1, -1, *x.shape[2:]).mean(1)
            x = attention(x)
        return maps

    def _stem(self, chips_B3SS: Tensor, second_BCSS: Tensor | None) -> Tensor:
        x: Tensor = self.stem(chips_B3SS)
        if self.second_stem is None or self.join is None:
            return x
        if second_BCSS is None:
            raise ValueError("this network reads a second picture beside the chip, and was given none")
        joined: Tensor = self.join(torch.cat([x, self.second_stem(second_BCSS)], dim=1))
        return joined

    def _levels(self, chips_B3SS: Tensor, second_BCSS: Tensor | None) -> Sequence[Tensor]:
        x, levels = self._stem(chips_B3SS, second_BCSS), []
        for name, stage in self.stages.items():
            x = self.attention[name](stage(x))
            levels.append(x)
        return levels


class Stem(nn.Module):
    """Pixels 0-255 to the first map, at full side."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )

    def forward(self, pixels_BCSS: Tensor) -> Tensor:
        """(B, width, S, S)."""
        x: Tensor = self.layers((pixels_BCSS - 127.5) / 127.5)
        return x


class IrBlock(nn.Module):
    """ArcFace's improved residual unit: BN-conv-BN-PReLU-conv-BN beside a shortcut."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, after, ⌈H/stride⌉, ⌈W/stride⌉)."""
        x: Tensor = self.deep(x_BCHW) + self.shortcut(x_BCHW)
        return x


class EightBit(nn.Module):
    """Embeddings as whole numbers that fit a byte each: a direction loses next to nothing by it.

    Backwards the rounding is passed over (straight-through).

    Source: FaceNet, arXiv:1503.03832, section 5.4 (128 bytes a face).
    """

    # Components of a random direction have standard deviation 1/√D: four of them are rarely exceeded.
    LIMIT = 4.0

    def forward(self, embeddings_BD: Tensor) -> Tensor:
        """(B, D) float32, each a whole number from -127 to 127."""
        fine_BD = functional.normalize(embeddings_BD) * (127 * math.sqrt(embeddings_BD.shape[1]) / self.LIMIT)
        coarse_BD = fine_BD.round().clamp(-127, 127)
        return coarse_BD if not torch.is_grad_enabled() else fine_BD + (coarse_BD - fine_BD).detach()
