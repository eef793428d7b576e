"""Processes: the several of one torchrun, or the only one there is.

    torchrun --nproc-per-node 2 -m training.stages.train_face

Each takes its share of every batch; gradients are averaged, so weights stay equal everywhere.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many this is."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this one writes files and reports."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch; neighbours stay together, so that P×K batches keep their pairs."""
        return rows.tensor_split(self.size)[self.rank]

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, with gradients averaged over all processes during its backward pass."""
        if self.size == 1:
            return module
        if next(module.parameters()).device.type == "cuda":
            # On a CPU torch has none: there each process normalises with the statistics of its own share.
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch's own
        return DistributedDataParallel(module)

    def without_averaging(self, module: nn.Module, *, when: bool) -> AbstractContextManager[None]:
        """Where only the last of several backward passes is worth an exchange."""
        if when and isinstance(module, DistributedDataParallel):
            context: AbstractContextManager[None] = module.no_sync()
            return context
        return nullcontext()

    def sum(self, value: float) -> float:
        """Over all processes, in float64."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item()


def leads() -> bool:
    """Whether this process is the first, or the only one, of those torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes torchrun started; alone when it started none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes(0, 1)
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cuda:nccl,cpu:gloo" if cuda else "gloo")
    try:
        yield Processes(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
