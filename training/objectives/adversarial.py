"""Adversarial faces: the change of a few grey levels that hurts most. To measure robustness, and to train for it."""

from collections.abc import Callable

import torch
from torch import Tensor


def perturb(
    chips_N3SS: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    *,
    epsilon: float,
    steps: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Walk uphill on a loss, never further than `epsilon` from any pixel.

    One step without a generator is FGSM; several from a random start are PGD.

    Args:
        chips_N3SS: Pixels 0-255; not changed.
        loss_of: A scalar of chips like these.
        epsilon: In grey levels.
        steps: Of 2.5·epsilon/steps each, or of epsilon when there is one.
        generator: Draws the start; none starts at the chips.

    Returns:
        Pixels 0-255, without a gradient.

    Source: FGSM, arXiv:1412.6572; PGD, arXiv:1706.06083.
    """
    stride = epsilon if steps == 1 else 2.5 * epsilon / steps
    start = torch.zeros_like(chips_N3SS)
    if generator is not None:
        start = epsilon * (2 * torch.rand(chips_N3SS.shape, generator=generator).to(chips_N3SS) - 1)
    changed = (chips_N3SS + start).clamp(0, 255)
    for _ in range(steps):
        changed = changed.detach().requires_grad_()
        (uphill,) = torch.autograd.grad(loss_of(changed), changed)
        near = (changed.detach() + stride * uphill.sign() - chips_N3SS).clamp(-epsilon, epsilon)
        changed = (chips_N3SS + near).clamp(0, 255)
    return changed.detach()
