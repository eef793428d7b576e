from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services import assembly
from services.settings import read_settings

from .models.conftest import CardMaker


class Echo:
    """Answers what it is given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, Any] | Any) -> dict[str, Any]:
        self.batches.append(len(inputs))
        return {"y": inputs}


@pytest.mark.parametrize(("device", "batches"), [("cpu", [8, 8, 8, 8]), ("onnxruntime-cpu", [8] * 4), ("cuda", [32])])
def test_a_processor_is_given_less_at_once_than_a_gpu(device: str, batches: list[int]) -> None:
    network = Echo()
    shared = assembly._shared(network, CardMaker()(b"weights"), replace(read_settings(), device=device), None)
    items = np.arange(32.0)[:, None]
    np.testing.assert_array_equal(shared.run(items)["y"], items)
    assert network.batches == batches
