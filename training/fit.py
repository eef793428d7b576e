"""One plain training loop, read top to bottom, for every network this house trains.

Every draw of an epoch comes from generators seeded by (seed, epoch), so a run resumed at any epoch
ends with the same weights as one that never stopped, on the same machine and thread count.
Started by torchrun, each process takes its share of every batch and gradients are averaged.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from training import processes
from training.checkpoint import Checkpoint, Weights, load_checkpoint
from training.config import FitParams


class Lesson(nn.Module, ABC):
    """What is taught: a network, whatever else learns beside it, the data and the loss.

    All parameters and buffers of the lesson are trained, averaged, saved and resumed; data are plain attributes.
    """

    @abstractmethod
    def draw_epoch(self, generator: torch.Generator) -> Tensor:
        """(N,) int64 rows of the training data in the order an epoch meets them."""

    @abstractmethod
    def forward(self, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        """The mean loss of some rows, with a gradient; the generator decides all that is random."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measures by name; `validation_loss`, lower is better, decides which epoch is kept."""

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return next(self.parameters()).device

    def autocast(self, precision: Literal["float32", "bfloat16"]) -> AbstractContextManager[None]:
        """Mixed precision for a forward pass; losses are better left outside."""
        context: AbstractContextManager[None] = torch.autocast(
            self.device.type, torch.bfloat16, enabled=precision == "bfloat16"
        )
        return context


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training data came to.

    Attributes:
        epoch: From 0.
        learning_rate: At its beginning.
        train_loss: Mean over its rows.
        gradient_norm: Mean over its steps, before clipping.
        measures: What the lesson's validation said.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    gradient_norm: float
    measures: Mapping[str, float]

    @property
    def validation_loss(self) -> float:
        """What decides which epoch is kept."""
        return self.measures["validation_loss"]

    def values(self) -> dict[str, float]:
        """Everything but the number of the epoch, flat, to be logged."""
        own = {"learning_rate": self.learning_rate, "train_loss": self.train_loss}
        return own | {"gradient_norm": self.gradient_norm, **self.measures}


def fit(
    lesson: Lesson, params: FitParams, *, checkpoint: Path, fingerprint: str, report: Callable[[Epoch], None]
) -> list[Epoch]:
    """Train, and leave the weights of the best validation loss in `lesson`.

    Args:
        lesson: Freshly made with `params.seed`; changed in place.
        params: The recipe.
        checkpoint: Written after every epoch, resumed from when it carries `fingerprint`, and
            removed at the end.
        fingerprint: Digest of everything the run depends on.
        report: Called after every epoch, resumed ones included.

    Returns:
        Every epoch, in order.
    """
    torch.use_deterministic_algorithms(True)
    with processes.joined() as group:
        return _fit(lesson, params, checkpoint, fingerprint, report, group)


def _fit(
    lesson: Lesson,
    params: FitParams,
    checkpoint: Path,
    fingerprint: str,
    report: Callable[[Epoch], None],
    group: processes.Processes,
) -> list[Epoch]:
    lesson.to(params.device).to(memory_format=torch.channels_last)
    decayed = [p for p in lesson.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in lesson.parameters() if p.requires_grad and p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": params.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    )
    resumed = load_checkpoint(checkpoint, fingerprint)
    history = _restore(resumed, lesson, optimizer) if resumed else []
    best = dict(resumed.best) if resumed else {}
    average = MovingAverage(lesson, params.average_decay)
    if resumed and resumed.average:
        average.weights = dict(resumed.average)
    for past in history:
        report(past)

    parallel = group.parallel(lesson)
    for epoch in range(len(history), params.epochs):
        if _waited(history) >= params.patience:
            break
        torch.manual_seed(params.seed * 100_003 + epoch)
        generator = torch.Generator().manual_seed(params.seed * 100_003 + epoch)
        order_N = lesson.draw_epoch(generator)
        steps = math.ceil(len(order_N) / params.batch_size)
        lesson.train()
        total, norms = 0.0, 0.0
        for step in range(steps):
            rows = order_N[step * params.batch_size : (step + 1) * params.batch_size]
            if len(rows) < group.size:
                break
            for param_group in optimizer.param_groups:
                param_group["lr"] = learning_rate_at(epoch + step / steps, params)
            optimizer.zero_grad()
            parts = group.share(rows).chunk(params.accumulation)
            for index, part in enumerate(parts, start=1):
                weight = len(part) / len(rows)
                with group.without_averaging(parallel, when=index < len(parts)):
                    loss = parallel(part, generator) * (weight * group.size)
                    loss.backward()
                total += loss.item() * len(rows) / group.size
            norms += nn.utils.clip_grad_norm_(lesson.parameters(), params.clip_norm).item()
            optimizer.step()
            average.update(lesson)

        with average.in_place(lesson):
            measures = lesson.validate()
            history.append(
                Epoch(
                    epoch=epoch,
                    learning_rate=learning_rate_at(epoch, params),
                    train_loss=group.sum(total) / len(order_N),
                    gradient_norm=norms / steps,
                    measures=measures,
                )
            )
            if _waited(history) == 0:
                best = {name: value.clone() for name, value in lesson.state_dict().items()}
        if group.leads:
            state = Checkpoint(
                weights=lesson.state_dict(),
                average=average.weights,
                best=best,
                moments=optimizer.state_dict()["state"],
                history=[asdict(past) for past in history],
            )
            state.save(checkpoint, fingerprint)
            report(history[-1])

    lesson.load_state_dict(best)
    if group.leads:
        checkpoint.unlink(missing_ok=True)
    return history


class MovingAverage:
    """An exponential moving average of a lesson's weights, often better than the last of them.

    Source: Polyak & Juditsky 1992; the exponential form as in Mean Teacher, arXiv:1703.01780.
    """

    def __init__(self, lesson: nn.Module, decay: float) -> None:
        """Begin at the weights as they are; a decay of 0 keeps no average."""
        self.weights: Weights = {name: value.clone() for name, value in lesson.state_dict().items()} if decay else {}
        self._decay = decay

    def update(self, lesson: nn.Module) -> None:
        """Move towards the weights as they are."""
        now = lesson.state_dict() if self.weights else {}
        for name, value in now.items():
            kept = self.weights[name]
            if value.is_floating_point():
                kept.lerp_(value, 1 - self._decay)
            else:
                kept.copy_(value)

    @contextmanager
    def in_place(self, lesson: nn.Module) -> Iterator[None]:
        """The lesson with the averaged weights inside the block, with its own after it."""
        if not self.weights:
            yield
            return
        own = {name: value.clone() for name, value in lesson.state_dict().items()}
        lesson.load_state_dict(self.weights)
        try:
            yield
        finally:
            lesson.load_state_dict(own)


def learning_rate_at(epoch: float, params: FitParams) -> float:
    """Linear warm-up, then half a cosine down to a hundredth; `epoch` counts in fractions."""
    if epoch < params.warmup_epochs:
        return params.learning_rate * (epoch + 1e-2) / params.warmup_epochs
    done = (epoch - params.warmup_epochs) / max(params.epochs - params.warmup_epochs, 1e-9)
    return params.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


def _waited(history: list[Epoch]) -> int:
    """Epochs since the best validation loss; 0 when the last is the best or there is none."""
    if not history:
        return 0
    losses = [epoch.validation_loss for epoch in history]
    return len(losses) - 1 - losses.index(min(losses))


def _restore(state: Checkpoint, lesson: Lesson, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    lesson.load_state_dict(state.weights)
    optimizer.load_state_dict({"state": dict(state.moments), "param_groups": optimizer.state_dict()["param_groups"]})
    return [Epoch(**epoch) for epoch in state.history]
