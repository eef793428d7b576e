"""Eight bits: what a trained network becomes for engines that compute in them, and how it answers there."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from services.contracts.card import ActionCalibration, Lineage, ModelCard, WindowSpec
from services.models.engine import load_network
from training.clips.video import Answer
from training.clips.views import cut_strip
from training.export import describe_weights, export_pixels
from training.lessons.video import StripSet
from training.networks.video import fold_statistics
from training.precision import quantise

_CALIBRATION_WINDOWS = 64
_AT_ONCE = 8


def export_float(network: nn.Module, strips: StripSet, window: WindowSpec) -> bytes:
    """The network as ONNX as it is, for comparison; the strips it met are not needed."""
    del strips
    return export_pixels(fold_statistics(network), window)


def export_eight_bits(network: nn.Module, strips: StripSet, window: WindowSpec) -> bytes:
    """The network as ONNX in QDQ form; ranges are measured on the middle windows of strips spread over what it met."""
    rows = np.unique(np.linspace(0, len(strips) - 1, _CALIBRATION_WINDOWS).round().astype(int))
    cut = [cut_strip(strips.pictures[row][:: strips.step], window) for row in rows]
    middles = np.stack([windows[len(windows) // 2] for windows in cut])
    batches = [middles[start : start + _AT_ONCE] for start in range(0, len(middles), _AT_ONCE)]
    return quantise(export_pixels(fold_statistics(network), window), batches)


def answer_in(
    form: Callable[[nn.Module, StripSet, WindowSpec], bytes], window: WindowSpec, *, device: str
) -> Callable[[nn.Module, StripSet], Answer]:
    """For `leave_networks_out`: each trained network is exported in some form, and an engine answers for it."""

    def engine(network: nn.Module, met: StripSet) -> Answer:
        return load_answer(form(network, met, window), window, device=device)

    return engine


def load_answer(content: bytes, window: WindowSpec, *, device: str, threads: int = 1) -> Answer:
    """An engine answers by an ONNX file that has no card yet; with one thread always the same to the last digit."""
    weights = describe_weights(content)
    card = ModelCard(
        name="unnamed",
        version=weights.sha256[:12],
        task="interaction",
        description="Measured, not kept.",
        weights=weights,
        licence="Apache-2.0",
        lineage=Lineage(source="measured, not kept"),
        window=window,
        classes=("unnamed",),
        action=ActionCalibration(temperature=1, minimum_probability=0.5, minimum_seconds=0),
    )
    with tempfile.TemporaryDirectory(prefix="whodid-") as folder:
        (Path(folder) / weights.file).write_bytes(content)
        network = load_network(card, Path(folder) / weights.file, device=device, threads=threads)

    def answer(windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = network.run({"rgb": windows})["logits"]
        return logits

    return answer
