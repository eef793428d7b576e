"""Checkpoint: everything a run needs to go on as if it had never stopped. safetensors and JSON, no pickle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after an epoch.

    Attributes:
        weights: Of the lesson: network, heads, running statistics.
        average: Their moving average; empty when none is kept.
        best: The weights that validated best so far.
        moments: The optimizer's tensors, by the index of the parameter.
        history: A JSON object for every epoch so far.
    """

    weights: Weights
    average: Weights
    best: Weights
    moments: Mapping[int, Weights]
    history: Sequence[Mapping[str, Any]]

    def save(self, path: Path, fingerprint: str) -> None:
        """Write it, replacing an older one only when it is whole.

        Args:
            path: Where.
            fingerprint: Digest of everything the run depends on.
        """
        tensors = {f"{part}/{name}": value for part in _PARTS for name, value in getattr(self, part).items()}
        for index, state in self.moments.items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
        state_json = json.dumps({"fingerprint": fingerprint, "history": [dict(epoch) for epoch in self.history]})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        # Copies: parts may share memory with one another, which the format refuses.
        apart = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
        save_file(apart, partial, {"state": state_json})
        partial.replace(path)


_PARTS = ("weights", "average", "best")


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Read a checkpoint of the same run; None when there is none or it is another run's."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        if state["fingerprint"] != fingerprint:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    parts: dict[str, Weights] = {part: {} for part in _PARTS}
    moments: dict[int, Weights] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            index, _, key = rest.partition("/")
            moments.setdefault(int(index), {})[key] = value
        else:
            parts[part][rest] = value
    return Checkpoint(**parts, moments=moments, history=state["history"])
