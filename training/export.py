"""A trained network becomes an ONNX file, checked on the engines that will run it."""

import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from services.contracts.card import Weights, WindowSpec
from services.contracts.errors import WhodidError

WEIGHTS_FILE = "model.onnx"


class EnginesDisagree(WhodidError):
    """An engine's answers differ from the trained network's by more than is allowed."""


def export_onnx(network: nn.Module, window: WindowSpec, motion_values: int) -> bytes:
    """Trace an action network with any number of windows; the same weights give the same bytes.

    Args:
        network: Reads uint8 (N, T, H, W, 3) and float32 (N, T, M), answers (N, K).
        window: T, H and W.
        motion_values: M.

    Returns:
        An ONNX file with inputs `rgb` and `motion` and output `logits`, weights inside.
    """
    rgb_NTHWC = torch.zeros(2, window.frames, window.size_px, window.size_px, 3, dtype=torch.uint8)
    motion_NTM = torch.zeros(2, window.frames, motion_values)
    windows = torch.export.Dim("windows", min=1, max=4096)
    with warnings.catch_warnings():
        # The exporter warns about its own parts, and about nn.LSTM's cache of flat weights.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (rgb_NTHWC, motion_NTM),
            dynamo=True,
            input_names=["rgb", "motion"],
            output_names=["logits"],
            dynamic_shapes=({0: windows}, {0: windows}),
            opset_version=20,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip_traces(model)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def describe_weights(content: bytes) -> Weights:
    """The card's record of an ONNX file."""
    return Weights(
        file=WEIGHTS_FILE, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), format="onnx"
    )


def check_parity(
    expected_NK: NDArray[np.float32], answers: Sequence[tuple[str, NDArray[np.float32]]], limit: float
) -> dict[str, float]:
    """Largest difference of any logit, by engine.

    Raises:
        EnginesDisagree: One is above `limit`, or not a number.
    """
    differences = {engine: float(np.abs(logits - expected_NK).max()) for engine, logits in answers}
    for engine, difference in differences.items():
        if not difference <= limit:
            raise EnginesDisagree(
                f"{engine} differs from the trained network by {difference:.2e} in some logit, above {limit:.0e}; "
                "the export is refused"
            )
    return differences


def _strip_traces(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes: stack traces with paths of this machine."""
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in graph.value_info:
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:]
