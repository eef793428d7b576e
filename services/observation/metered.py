"""Metered: a network whose batches are counted and timed."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from services.observation.metrics import ServiceMetrics

Tensor = NDArray[Any]


class Network(Protocol):
    """What can be run; see services.models.engine."""

    def run(self, inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        """Run one batch."""


class Metered:
    """Passes batches on to a network.

    Args:
        network: Does the work.
        name: Of the card.
        metrics: Told items and seconds of each batch.
    """

    def __init__(self, network: Network, name: str, metrics: ServiceMetrics) -> None:
        self._network, self._name, self._metrics = network, name, metrics

    def run(self, inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        """Run one batch."""
        first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
        started = time.perf_counter()
        outputs = self._network.run(inputs)
        self._metrics.run_batch(self._name, len(first), time.perf_counter() - started)
        return outputs
