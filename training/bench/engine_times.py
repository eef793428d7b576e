"""What engines take for a network of actions, beside what they take for convolutions with nothing between them."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import torch
import torchvision
from torch import nn

from services.contracts.card import ModelCard
from services.contracts.errors import BadInput
from services.models.engine import Tensor, load_network
from services.models.store import StoredModel
from services.perception.windows import MOTION_CHANNELS
from training.bench.table import Bar, BenchTable, Cell, Spread
from training.config import NetworkParams
from training.export import describe_weights, export_embedder
from training.networks.action import CnnLstm
from training.networks.costs import count_costs

ENGINES = {"cpu": "OpenVINO", "onnxruntime-cpu": "ONNX Runtime"}
BATCH = 16
_MOST_TIMES_THE_BEST = 2.0
# The exporter adds a few numbers of its own to those that were learned.
_NUMBERS_APART = 0.01

_Result = TypeVar("_Result")
Progress = Callable[[str, float, float], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one call: seconds by the clock, and of all processor cores."""

    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Something to be timed.

    Attributes:
        kind: "window" (one at a time), "batch" or "reference".
        what: Precision of the network, or the reference's name.
        device: See ENGINES.
        flops: Of one call, where they are counted.
    """

    kind: str
    what: str
    device: str
    flops: int = 0


def time_call(call: Callable[[], _Result]) -> tuple[_Result, Timing]:
    """Run it once."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, Timing(time.perf_counter() - wall, time.process_time() - cpu)


def time_in_turns(
    calls: Mapping[Work, Callable[[], object]], rounds: int, *, on_progress: Progress
) -> dict[Work, list[Timing]]:
    """Each once a round, so that a busy machine slows all alike; a first round warms caches up and is not kept."""
    timings: dict[Work, list[Timing]] = {work: [] for work in calls}
    for done in range(rounds + 1):
        on_progress("engines", done, rounds + 1)
        for work, call in calls.items():
            timing = time_call(call)[1]
            if done:
                timings[work].append(timing)
    on_progress("engines", rounds + 1, rounds + 1)
    return timings


def measure_engines(
    model: StoredModel, quantised: bytes, params: NetworkParams, rounds: int, *, on_progress: Progress
) -> list[BenchTable]:
    """Time windows on both engines in both precisions, and plain networks beside them.

    Args:
        model: What serves.
        quantised: The same in eight bits.
        params: Of the network, to count its operations.
        rounds: Of all in turn.
        on_progress: Told "engines", rounds done and rounds in all.

    Raises:
        BadInput: `params` do not describe the network.
    """
    card = model.card
    assert card.window is not None  # the card's validator
    side, pictures = card.window.size_px, BATCH * card.window.frames
    operations = count_operations(model, params)
    calls: dict[Work, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory(prefix="whodid-bench-") as name:
        for form, stored in (("float32", model), ("int8", store_beside(card, quantised, Path(name) / "int8"))):
            for device in ENGINES:
                run = load_network(stored.card, stored.weights_path, device=device).run
                calls[Work("window", form, device, operations)] = partial(run, draw_windows(card, 1))
                calls[Work("batch", form, device, BATCH * operations)] = partial(run, draw_windows(card, BATCH))
        for reference, (network, items) in list_references(params, pictures).items():
            chips = np.random.default_rng(0).uniform(0, 255, (items, 3, side, side)).astype(np.float32)
            flops = count_costs(network, [torch.from_numpy(chips)]).flops
            stored = store_beside(card, export_embedder(network, side), Path(name) / reference)
            for device in ENGINES:
                run = load_network(stored.card, stored.weights_path, device=device).run
                calls[Work("reference", reference, device, flops)] = partial(run, chips)
        timings = time_in_turns(calls, rounds, on_progress=on_progress)
    return [tabulate_engines(timings), tabulate_operations(timings)]


def count_operations(model: StoredModel, params: NetworkParams) -> int:
    """Floating-point operations of one window: convolutions and matrix products; the LSTM's, a twentieth, are not in.

    Raises:
        BadInput: The file does not hold as many numbers as a network of `params`.
    """
    card = model.card
    assert card.window is not None  # the card's validator
    network = CnnLstm(
        classes=len(card.classes),
        size_px=card.window.size_px,
        channels=params.channels,
        lstm_units=params.lstm_units,
        dropout=params.dropout,
    )
    inputs = draw_windows(card, 1)
    costs = count_costs(network, [torch.from_numpy(inputs["rgb"]), torch.from_numpy(inputs["motion"])])
    stored = sum(
        int(np.prod(weight.dims))
        for weight in onnx.load(model.weights_path).graph.initializer
        if weight.data_type == onnx.TensorProto.FLOAT
    )
    # What a batch normalisation scales by is part of the convolution before it.
    folded = sum(module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    if not (1 - _NUMBERS_APART) * (costs.parameters - folded) <= stored <= (1 + _NUMBERS_APART) * costs.parameters:
        raise BadInput(
            f"{card.name}@{card.version} holds {stored} numbers, the network of params.yaml {costs.parameters}: "
            "its operations cannot be counted"
        )
    return costs.flops


def list_references(params: NetworkParams, pictures: int) -> dict[str, tuple[nn.Module, int]]:
    """Networks with nothing that slows engines down, and how many pictures each is given; weights are random."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((3, *params.channels), params.channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return {
        "its convolutions alone": (nn.Sequential(*layers), pictures),
        "ResNet-18": (torchvision.models.resnet18(), pictures // 8),
    }


def draw_windows(card: ModelCard, count: int) -> dict[str, Tensor]:
    """Noise of the shape a network reads."""
    assert card.window is not None  # the card's validator
    rng = np.random.default_rng(0)
    frames, side = card.window.frames, card.window.size_px
    return {
        "rgb": rng.integers(0, 256, (count, frames, side, side, 3)).astype(np.uint8),
        "motion": rng.normal(size=(count, frames, MOTION_CHANNELS)).astype(np.float32),
    }


def store_beside(card: ModelCard, content: bytes, folder: Path) -> StoredModel:
    """Other weights under a card's name, in a folder of their own."""
    folder.mkdir(parents=True)
    weights = describe_weights(content)
    (folder / weights.file).write_bytes(content)
    return StoredModel(card.model_copy(update={"weights": weights}), folder / weights.file)


def tabulate_engines(timings: Mapping[Work, list[Timing]]) -> BenchTable:
    """Milliseconds and processor time, by engine and precision."""
    rows: list[tuple[Cell, ...]] = []
    for work, several in timings.items():
        if work.kind != "window":
            continue
        batch = timings[Work("batch", work.what, work.device, BATCH * work.flops)]
        one_ms = 1000 * np.array([timing.wall_seconds for timing in several])
        many_ms = 1000 * np.array([timing.wall_seconds for timing in batch]) / BATCH
        cpu_ms = 1000 * float(np.median([timing.cpu_seconds for timing in batch])) / BATCH
        busy = float(np.median([timing.cpu_seconds / timing.wall_seconds for timing in batch]))
        rows.append(
            (
                f"{ENGINES[work.device]}, {work.what}",
                float(np.quantile(one_ms, 0.5)),
                float(np.quantile(one_ms, 0.95)),
                float(np.quantile(many_ms, 0.5)),
                float(np.quantile(many_ms, 0.95)),
                cpu_ms,
                busy,
            )
        )
    return BenchTable(
        name="engines",
        title="cost: the network on each engine",
        protocol=(
            f"One window at a time, and batches of {BATCH}; noise for pictures, all cores, "
            f"{_rounds(timings)} rounds of everything in turn after one that is not kept. OpenVINO in float32 is what "
            "serves."
        ),
        columns=(
            "engine",
            "one window, ms, p50",
            "p95",
            f"of {BATCH}, ms a window, p50",
            "p95",
            "processor ms a window",
            "cores busy",
        ),
        rows=tuple(rows),
        bars=(),
    )


def tabulate_operations(timings: Mapping[Work, list[Timing]]) -> BenchTable:
    """Operations a second of the network as it serves, and of plain networks on their best engine."""
    rates = {
        work: np.array([work.flops / timing.wall_seconds / 1e9 for timing in several])
        for work, several in timings.items()
        if work.kind == "reference" or (work.kind == "batch" and work.what == "float32")
    }
    best = max((work for work in rates if work.kind == "reference"), key=lambda work: float(np.median(rates[work])))
    served = next(work for work in rates if work.kind == "batch" and work.device == "cpu")
    # A round's ratio compares neighbours in time.
    times_best = {work: Spread.of((rates[best] / rate).tolist()) for work, rate in rates.items()}
    rows: list[tuple[Cell, ...]] = [
        (
            f"{'the network, float32' if work.kind == 'batch' else work.what}, {ENGINES[work.device]}",
            work.flops / 1e9,
            float(np.median(1000 * np.array([timing.wall_seconds for timing in timings[work]]))),
            float(np.median(rates[work])),
            times_best[work].median,
            f"{times_best[work].minimum:.2f} to {times_best[work].maximum:.2f}",
        )
        for work in rates
    ]
    reached = times_best[served].median
    return BenchTable(
        name="operations",
        title="cost: time for its operations",
        protocol=(
            f"Batches of {BATCH} windows, the same rounds as above. Operations are two for each multiply-add of "
            "convolutions and matrix products, counted by torch; an LSTM's are not counted (a twentieth of this "
            "network's). The references are fed as many pictures of the same side as the batch holds (ResNet-18 an "
            "eighth of them): convolutions of the same widths and strides with nothing but ReLU between them, and "
            "torchvision's ResNet-18, both with random weights. Times the best: of the time that the fastest row of "
            "the references would take for as many operations, median and range over rounds."
        ),
        columns=("network and engine", "GFLOP", "ms", "GFLOP/s", "times the best", "range"),
        rows=tuple(rows),
        bars=(
            Bar(
                "the network as it serves, times the best engine's time for its operations",
                reached,
                f"<= {_MOST_TIMES_THE_BEST:g}",
                reached <= _MOST_TIMES_THE_BEST,
            ),
        ),
        remarks=(f"the best: {best.what} on {ENGINES[best.device]}",),
    )


def _rounds(timings: Mapping[Work, list[Timing]]) -> int:
    return len(next(iter(timings.values())))
