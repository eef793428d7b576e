"""Collapse: a run whose embeddings have all become one is stopped, with the reason, instead of going on for hours."""

import torch
from torch import Tensor
from torch.nn import functional

from services.contracts.errors import WhodidError


class Collapsed(WhodidError):
    """All faces look alike to the network, or it answers no numbers."""


def measure_spread(embeddings_ND: Tensor) -> float:
    """1 minus the mean cosine between different faces: 0 when all are one, near 1 for unrelated directions."""
    unit_ND = functional.normalize(embeddings_ND.float())
    count = len(unit_ND)
    mean_cosine = (unit_ND.sum(0).square().sum() - count) / max(count * (count - 1), 1)
    return float(1 - mean_cosine)


def refuse_collapse(embeddings_ND: Tensor, *, least_spread: float) -> float:
    """Check embeddings of different subjects.

    Returns:
        Their spread.

    Raises:
        Collapsed: They are closer together than is allowed, or not finite.
    """
    if not torch.isfinite(embeddings_ND).all():
        raise Collapsed("embeddings are not finite numbers: lower the learning rate, or clip gradients harder")
    spread = measure_spread(embeddings_ND)
    if spread < least_spread:
        raise Collapsed(
            f"the embeddings of {len(embeddings_ND)} faces have collapsed (spread {spread:.4f}, below {least_spread}): "
            "lower the learning rate, lengthen the margin's warm-up, or mine less hard triplets"
        )
    return spread
