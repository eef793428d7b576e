"""Batched: a network whose concurrent callers share its runs."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.models.engine import Inputs, Network

Tensor = NDArray[Any]


@dataclass(slots=True, eq=False)
class _Call:
    """One caller's batch, and what became of it."""

    inputs: dict[str, Tensor]
    plain: bool
    items: int = field(init=False)
    outputs: dict[str, Tensor] | None = None
    fault: Exception | None = None

    def __post_init__(self) -> None:
        self.items = len(next(iter(self.inputs.values())))

    def fits_beside(self, other: "_Call") -> bool:
        """Whether both can be rows of one batch."""
        return self.plain == other.plain and self._item() == other._item()

    def _item(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {name: (array.shape[1:], array.dtype) for name, array in self.inputs.items()}


class Batched:
    """Passes batches on to a network, those of callers who wait meanwhile together as one. For several threads.

    Nobody waits for company: whoever finds the network free runs at once, and the next run takes along everyone who
    came while it was busy. The first dimension of every input and output counts items; an item's answer must not
    depend on its neighbours, which its tests prove, to the bit, of the networks shipped.

    The network is only ever given powers of two. An engine keeps kernels and buffers for every batch size it has met,
    and callers who come as they like make every size there is: a server would grow for as long as it meets new ones.

    Args:
        network: Runs one batch at a time.
        most_items: That callers share and that the network is given at once.
    """

    def __init__(self, network: Network, *, most_items: int = 32) -> None:
        self._network, self._most_items = network, most_items
        self._waiting: list[_Call] = []
        self._list, self._turn = threading.Lock(), threading.Lock()

    def run(self, inputs: Inputs) -> dict[str, Tensor]:
        """Run one batch, perhaps as part of a larger one.

        Raises:
            Exception: What the network raises of this batch alone.
        """
        plain = not isinstance(inputs, Mapping)
        call = _Call(dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}, plain)
        with self._list:
            self._waiting.append(call)
        with self._turn:
            # Whoever had the turn before may have taken this call along.
            if call.outputs is None and call.fault is None:
                self._run_together(self._take_along(call))
        if call.fault is not None:
            raise call.fault
        assert call.outputs is not None
        return call.outputs

    def _take_along(self, first: _Call) -> list[_Call]:
        """Calls off the list for one run, `first` among them whoever else waits."""
        taken, items = [first], first.items
        with self._list:
            self._waiting.remove(first)
            for call in list(self._waiting):
                if items + call.items <= self._most_items and call.fits_beside(first):
                    self._waiting.remove(call)
                    taken.append(call)
                    items += call.items
        return taken

    def _run_together(self, calls: Sequence[_Call]) -> None:
        first = calls[0]
        together = {name: np.concatenate([call.inputs[name] for call in calls]) for name in first.inputs}
        try:
            outputs = self._run_in_powers_of_two(together, sum(call.items for call in calls), plain=first.plain)
        except Exception as fault:
            if len(calls) == 1:
                first.fault = fault
                return
            # One caller's fault is not the others': each alone says whose it is.
            for call in calls:
                self._run_together([call])
            return
        ends = np.cumsum([call.items for call in calls])
        for call, end in zip(calls, ends, strict=True):
            call.outputs = {name: array[end - call.items : end] for name, array in outputs.items()}

    def _run_in_powers_of_two(self, inputs: dict[str, Tensor], items: int, *, plain: bool) -> dict[str, Tensor]:
        answers: list[dict[str, Tensor]] = []
        done = 0
        while done < items:
            size = 1 << (min(items - done, self._most_items).bit_length() - 1)
            piece = {name: array[done : done + size] for name, array in inputs.items()}
            answers.append(self._network.run(piece[""] if plain else piece))
            done += size
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
