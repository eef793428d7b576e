"""What a network costs: parameters and floating-point operations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one network.

    Attributes:
        parameters: Numbers learned.
        megabytes: Of all weights and running statistics, as they are stored.
        flops: Multiplications and additions (two for each multiply-add) of one forward pass; of convolutions
            and matrix products, which are nearly all.
    """

    parameters: int
    megabytes: float
    flops: int


def count_costs(network: nn.Module, inputs: Sequence[Tensor]) -> Costs:
    """Count for one forward pass on `inputs`; the network is left as it was."""
    was_training = network.training
    network.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    network.train(was_training)
    stored = [*network.parameters(), *network.buffers()]
    return Costs(
        parameters=sum(p.numel() for p in network.parameters()),
        megabytes=sum(t.numel() * t.element_size() for t in stored) / 1e6,
        flops=int(counter.get_total_flops()),
    )
