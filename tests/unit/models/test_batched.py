import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.contracts.errors import BadInput
from services.models.batched import Batched

Tensor = NDArray[Any]


class Doubling:
    """Doubles what it is given; the first run waits until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.began, self.go_on = threading.Event(), threading.Event()

    def run(self, inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        array = inputs["x"] if isinstance(inputs, Mapping) else inputs
        self.batches.append(len(array))
        if len(self.batches) == 1:
            self.began.set()
            assert self.go_on.wait(10)
        if (array < 0).any():
            raise BadInput("negative")
        return {"y": array * 2}


def ask_at_once(network: Doubling, batched: Batched, batches: list[Tensor]) -> list[Any]:
    """Answers, or faults, of callers who all wait while somebody else's run is under way."""
    with ThreadPoolExecutor(len(batches) + 1) as pool:
        busy = pool.submit(batched.run, np.zeros((1, 2)))
        assert network.began.wait(10)
        asked = [pool.submit(batched.run, batch) for batch in batches]
        while len(batched._waiting) < len(batches):
            threading.Event().wait(0.01)
        network.go_on.set()
        busy.result()
        return [one.exception() or one.result()["y"] for one in asked]


def rows(number: float, items: int, width: int = 2) -> Tensor:
    return np.full((items, width), number)


def test_callers_who_wait_share_one_run_and_each_gets_its_own_rows() -> None:
    network = Doubling()
    batches = [rows(1, 1), rows(2, 3), rows(3, 2)]
    answers = ask_at_once(network, Batched(network), batches)
    assert network.batches == [1, 4, 2]
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_array_equal(answer, batch * 2)


def test_a_run_has_a_limit() -> None:
    network = Doubling()
    answers = ask_at_once(network, Batched(network, most_items=4), [rows(1, 3), rows(2, 3), rows(3, 9)])
    assert sum(network.batches) == 16
    assert max(network.batches) == 4
    assert [len(answer) for answer in answers] == [3, 3, 9]


def test_the_network_meets_few_batch_sizes_whatever_callers_bring() -> None:
    """OpenVINO kept memory for each: two of the services grew by 11 and 13 MiB in a hundred requests."""
    network = Doubling()
    network.go_on.set()
    batched = Batched(network, most_items=32)
    for items in range(1, 50):
        batch = np.arange(items, dtype=float)[:, None]
        np.testing.assert_array_equal(batched.run(batch)["y"], batch * 2)
    assert set(network.batches) == {1, 2, 4, 8, 16, 32}


def test_other_shapes_run_apart() -> None:
    network = Doubling()
    answers = ask_at_once(network, Batched(network), [rows(1, 1), rows(2, 1, width=5)])
    assert network.batches == [1, 1, 1]
    assert [answer.shape for answer in answers] == [(1, 2), (1, 5)]


def test_one_caller_s_fault_is_not_the_others() -> None:
    network = Doubling()
    first, fault, last = ask_at_once(network, Batched(network), [rows(1, 1), rows(-1, 1), rows(3, 1)])
    assert isinstance(fault, BadInput)
    np.testing.assert_array_equal(first, rows(2, 1))
    np.testing.assert_array_equal(last, rows(6, 1))


def test_inputs_by_name_are_handed_on_by_name() -> None:
    network = Doubling()
    network.go_on.set()
    np.testing.assert_array_equal(Batched(network).run({"x": rows(4, 2)})["y"], rows(8, 2))


@pytest.mark.parametrize("task", ["action", "face_embedding"])
def test_neighbours_change_no_bit_of_an_answer(task: Any, models: Any) -> None:
    """What makes sharing a run harmless: event ids are digests of answers."""
    from services.models.engine import load_network
    from services.models.store import ModelStore
    from services.perception.windows import MOTION_CHANNELS

    card, path = ModelStore(models).champion(task)
    network, numbers = load_network(card, path), np.random.default_rng(4)
    if card.window is not None:
        shape = (6, card.window.frames, card.window.size_px, card.window.size_px, 3)
        inputs: dict[str, Tensor] = {"rgb": numbers.integers(0, 255, shape).astype(np.uint8)}
        if card.window.motion:
            inputs["motion"] = numbers.normal(size=(6, card.window.frames, MOTION_CHANNELS)).astype(np.float32)
        alone = [network.run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(6)]
        together = network.run(inputs)
    else:
        assert card.chip is not None
        faces = numbers.normal(size=(6, 3, card.chip.size_px, card.chip.size_px)).astype(np.float32)
        alone = [network.run(faces[i : i + 1]) for i in range(6)]
        together = network.run(faces)
    for name, array in together.items():
        np.testing.assert_array_equal(array, np.concatenate([one[name] for one in alone]))
