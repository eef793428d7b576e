"""What a face network makes of worse pictures: one factor at a time, and changes made to fool it."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.datasets import face_augmentation as steps
from training.objectives.adversarial import perturb

Change = Callable[[Tensor, torch.Generator], Tensor]


def _darken(x: Tensor, generator: torch.Generator) -> Tensor:
    return 255 * (x / 255) ** 2 * 0.5


FACTORS: Mapping[str, Change] = {
    "blur": steps.blur,
    "low_resolution": steps.lower_resolution,
    "dark": _darken,
    "occlusion": steps.cover,
    "mask": steps.wear_mask,
    "jpeg": steps.compress,
}
"""What each factor does to (N, 3, S, S) pixels, 0-255."""


def embed_changed(network: nn.Module, chips_N3SS: Tensor, change: Change, *, seed: int) -> Tensor:
    """(N, D) embeddings after a change whose draws the seed decides."""
    network.eval()
    with torch.no_grad():
        embeddings_ND: Tensor = network(change(chips_N3SS, torch.Generator().manual_seed(seed)))
    return embeddings_ND


def embed_attacked(network: nn.Module, chips_N3SS: Tensor, *, epsilon: float, attack_steps: int, seed: int) -> Tensor:
    """(N, D) embeddings of faces changed so that each moves as far from its own embedding as it can.

    Args:
        network: Attacked with full knowledge of it.
        chips_N3SS: Pixels 0-255.
        epsilon: In grey levels.
        attack_steps: 1 is FGSM, more are PGD.
        seed: Of PGD's start; FGSM begins a hair off the face, where the cosine has a slope.
    """
    network.eval()
    with torch.no_grad():
        own_ND = network(chips_N3SS)

    def distance(changed_N3SS: Tensor) -> Tensor:
        return -functional.cosine_similarity(network(changed_N3SS), own_ND).sum()

    generator = torch.Generator().manual_seed(seed)
    if attack_steps == 1:
        start = chips_N3SS + 0.5 * torch.randn(chips_N3SS.shape, generator=generator)
        attacked = perturb(start.clamp(0, 255), distance, epsilon=epsilon)
    else:
        attacked = perturb(chips_N3SS, distance, epsilon=epsilon, steps=attack_steps, generator=generator)
    with torch.no_grad():
        embeddings_ND: Tensor = network(attacked)
    return embeddings_ND
