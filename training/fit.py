"""One plain training loop, read top to bottom.

Every draw of an epoch comes from generators seeded by (seed, epoch), so a run resumed at any epoch
ends with the same weights as one that never stopped, on the same machine and thread count.
"""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.config import TrainActionParams
from training.datasets.augmentation import augment
from training.datasets.sampling import draw_balanced
from training.datasets.windows import WindowSet


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training windows came to."""

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float


def fit(
    network: nn.Module,
    train: WindowSet,
    validation: WindowSet,
    params: TrainActionParams,
    *,
    checkpoint: Path,
    fingerprint: str,
    report: Callable[[Epoch], None],
) -> list[Epoch]:
    """Train, and leave the weights of the best validation loss in `network`.

    Args:
        network: Freshly made with `params.seed`; changed in place.
        train: Windows with an action each.
        validation: Windows of other people, with an action each.
        params: The recipe.
        checkpoint: Written after every epoch, resumed from when it carries `fingerprint`, and
            removed at the end.
        fingerprint: Digest of everything the run depends on.
        report: Called after every epoch, resumed ones included.

    Returns:
        Every epoch, in order.
    """
    torch.use_deterministic_algorithms(True)
    network.to(memory_format=torch.channels_last)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": params.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=params.label_smoothing)
    action_N = torch.from_numpy(train.actions)
    steps = math.ceil(len(train) / params.batch_size)

    history = _resume(checkpoint, fingerprint, network, optimizer)
    for past in history:
        report(past)
    best = _best_weights(checkpoint) if history else {}

    for epoch in range(len(history), params.epochs):
        if _waited(history) >= params.patience:
            break
        torch.manual_seed(params.seed * 100_003 + epoch)
        generator = torch.Generator().manual_seed(params.seed * 100_003 + epoch)
        order_N = draw_balanced(action_N, generator)
        network.train()
        total = 0.0
        for step in range(steps):
            rows = order_N[step * params.batch_size : (step + 1) * params.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(epoch + step / steps, params)
            rgb_NTHWC = torch.from_numpy(train.rgb(rows.numpy()))
            motion_NTM = torch.from_numpy(train.motion[rows.numpy()])
            rgb_NTHWC, motion_NTM = augment(rgb_NTHWC, motion_NTM, params.augmentation, generator)
            with _precision(params):
                loss = loss_of(network(rgb_NTHWC, motion_NTM).float(), action_N[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), params.clip_norm)
            optimizer.step()
            total += loss.item() * len(rows)

        logits_NK = torch.from_numpy(predict_logits(network, validation))
        truth_N = torch.from_numpy(validation.actions)
        history.append(
            Epoch(
                epoch=epoch,
                learning_rate=learning_rate_at(epoch, params),
                train_loss=total / len(train),
                validation_loss=nn.functional.cross_entropy(logits_NK, truth_N).item(),
                validation_accuracy=(logits_NK.argmax(1) == truth_N).double().mean().item(),
            )
        )
        if _waited(history) == 0:
            best = {name: value.clone() for name, value in network.state_dict().items()}
        _save(checkpoint, fingerprint, network, optimizer, best, history)
        report(history[-1])

    network.load_state_dict(best)
    checkpoint.unlink(missing_ok=True)
    return history


def learning_rate_at(epoch: float, params: TrainActionParams) -> float:
    """Linear warm-up, then half a cosine down to a hundredth; `epoch` counts in fractions."""
    if epoch < params.warmup_epochs:
        return params.learning_rate * (epoch + 1e-2) / params.warmup_epochs
    done = (epoch - params.warmup_epochs) / max(params.epochs - params.warmup_epochs, 1e-9)
    return params.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


def predict_logits(network: nn.Module, windows: WindowSet, batch_size: int = 64) -> NDArray[np.float32]:
    """Logits (N, K) of every window, float32, without gradients or augmentation."""
    network.eval()
    answers = []
    with torch.inference_mode():
        for start in range(0, len(windows), batch_size):
            rows = np.arange(start, min(start + batch_size, len(windows)))
            rgb_NTHWC = torch.from_numpy(windows.rgb(rows))
            answers.append(network(rgb_NTHWC, torch.from_numpy(windows.motion[rows])).float().numpy())
    return np.concatenate(answers) if answers else np.zeros((0, len(windows.classes)), np.float32)


def _precision(params: TrainActionParams) -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = torch.autocast(
        "cpu", torch.bfloat16, enabled=params.precision == "bfloat16"
    )
    return context


def _waited(history: list[Epoch]) -> int:
    """Epochs since the best validation loss; 0 when the last is the best or there is none."""
    if not history:
        return 0
    losses = [epoch.validation_loss for epoch in history]
    return len(losses) - 1 - losses.index(min(losses))


def _save(
    path: Path,
    fingerprint: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    history: list[Epoch],
) -> None:
    """Weights, optimizer and best weights as safetensors, the rest as JSON in its header; atomic."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    state_json = json.dumps({"fingerprint": fingerprint, "history": [asdict(epoch) for epoch in history]})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, {"state": state_json})
    partial.replace(path)


def _resume(path: Path, fingerprint: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    """Load a checkpoint of the same run into `network` and `optimizer`; an empty history when there is none."""
    if not path.is_file():
        return []
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        if state["fingerprint"] != fingerprint:
            return []
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    network.load_state_dict({n.removeprefix("network/"): v for n, v in tensors.items() if n.startswith("network/")})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return [Epoch(**epoch) for epoch in state["history"]]


def _best_weights(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("best/")]  # noqa: SIM118 (not a mapping)
        return {name.removeprefix("best/"): file.get_tensor(name) for name in names}
