"""Which windows an epoch sees."""

import torch
from torch import Tensor


def draw_balanced(action_N: Tensor, generator: torch.Generator) -> Tensor:
    """Draw N rows with replacement, every action equally likely however rare.

    Args:
        action_N: (N,) int64, none negative.
        generator: Its state decides the draw.

    Returns:
        (N,) int64 rows.
    """
    counts_K = torch.bincount(action_N).float()
    return torch.multinomial(1 / counts_K[action_N], len(action_N), replacement=True, generator=generator)
