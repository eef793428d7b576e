"""PinnedModels: exactly the weights a deployment names, wherever KServe's storage initializer put them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.contracts.card import Task
from services.contracts.errors import MissingModel
from services.models.store import CARD_FILE, ModelStore, StoredModel, read_card


@dataclass(frozen=True, slots=True)
class PinnedModels(ModelStore):
    """A folder of cards, each with its weights beside it: `root`, or any folder in it.

    A pin outranks the champion: whoever can write to the folder can replace a card together with its weights, and
    still cannot change what serves.

    Attributes:
        pins: sha256 of the weights by task.
    """

    pins: Mapping[str, str] = field(default_factory=dict)

    def has_champion(self, task: Task) -> bool:
        """Whether `task` is pinned, or has a champion."""
        return task in self.pins or ModelStore.has_champion(self, task)

    def champion(self, task: Task) -> StoredModel:
        """The model pinned for `task`; the store's champion when none is.

        Raises:
            MissingModel: The folder does not hold the pinned weights.
        """
        wanted = self.pins.get(task)
        if wanted is None:
            return ModelStore.champion(self, task)
        found = [read_card(path) for path in sorted([*self.root.glob(CARD_FILE), *self.root.glob(f"*/{CARD_FILE}")])]
        for model in found:
            if model.card.task == task and model.card.weights.sha256 == wanted:
                return model
        there = ", ".join(f"{m.card.name}@{m.card.version} {m.card.weights.sha256[:12]}" for m in found) or "nothing"
        raise MissingModel(
            f"{task} is pinned to {wanted}, and {self.root} holds {there}: "
            "mount the folder with those weights, or change the pin"
        )
