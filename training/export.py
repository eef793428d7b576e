"""A trained network becomes an ONNX file, checked on the engines that will run it."""

import copy
import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

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
    return _export(network, {"rgb": rgb_NTHWC, "motion": motion_NTM}, "logits")


def export_pixels(network: nn.Module, window: WindowSpec) -> bytes:
    """Trace a network that reads nothing but pictures, with any number of windows.

    Args:
        network: Reads uint8 (N, T, S, S, 3), answers (N, K).
        window: T and S.

    Returns:
        An ONNX file with input `rgb` and output `logits`, weights inside.
    """
    rgb_NTHWC = torch.zeros(2, window.frames, window.size_px, window.size_px, 3, dtype=torch.uint8)
    # Its thousand small steps are left to the engines, which fold them in a second or two.
    return _export(network, {"rgb": rgb_NTHWC}, "logits", optimize=False)


def export_embedder(network: nn.Module, size_px: int, *, second_channels: int = 0) -> bytes:
    """Trace a face network with any number of chips; the same weights give the same bytes.

    Args:
        network: Reads float32 (N, 3, S, S), 0-255, and answers (N, D).
        size_px: S.
        second_channels: Of a second picture of the same side; 0 when the network reads none.

    Returns:
        An ONNX file with input `chips` (and `second`) and output `embeddings`, weights inside.
    """
    inputs = {"chips": torch.zeros(2, 3, size_px, size_px)}
    if second_channels:
        inputs["second"] = torch.zeros(2, second_channels, size_px, size_px)
    return _export(network, inputs, "embeddings")


class GroupNormByMeans(nn.Module):
    """What nn.GroupNorm answers, without a Reshape: engines keep their own layout from one convolution to the next.

    Means over a picture are averaged over each group's channels by a 1×1 convolution. Exported as it is, GroupNorm is
    reshaped to groups and back, and OpenVINO reorders everything before and after it.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        """Take the same groups, scale and shift."""
        super().__init__()
        channels = norm.num_channels
        each = channels // norm.num_groups
        share_CC11 = torch.eye(norm.num_groups).kron(torch.full((each, each), 1 / each))[:, :, None, None]
        self.register_buffer("share_CC11", share_CC11)
        self.register_buffer("scale_C11", norm.weight.detach().clone()[:, None, None])
        self.register_buffer("shift_C11", norm.bias.detach().clone()[:, None, None])
        self._least_variance = norm.eps

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalised (N, C, H, W)."""
        share_CC11 = self.get_buffer("share_CC11")
        mean_NC11 = functional.conv2d(x_NCHW.mean((2, 3), keepdim=True), share_CC11)
        square_NC11 = functional.conv2d((x_NCHW * x_NCHW).mean((2, 3), keepdim=True), share_CC11)
        # Rounding may leave less than nothing of a picture of one colour.
        variance_NC11 = (square_NC11 - mean_NC11 * mean_NC11).clamp(min=0) + self._least_variance
        factor_NC11 = self.get_buffer("scale_C11") / variance_NC11.sqrt()
        normalised: Tensor = x_NCHW * factor_NC11 + (self.get_buffer("shift_C11") - mean_NC11 * factor_NC11)
        return normalised


def spell_out_group_norms(network: nn.Module) -> nn.Module:
    """A copy whose GroupNorms over pictures are spelt out; the network itself where it has none."""
    if not any(isinstance(module, nn.GroupNorm) for module in network.modules()):
        return network
    spelt = copy.deepcopy(network)
    for parent in list(spelt.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(parent, name, GroupNormByMeans(child))
    return spelt


def _export(network: nn.Module, inputs: dict[str, Tensor], output: str, *, optimize: bool = True) -> bytes:
    items = torch.export.Dim("windows", min=1, max=4096)
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns about its own parts, and about nn.LSTM's cache of flat weights.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            spell_out_group_norms(network.eval()),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: items} for _ in inputs),
            opset_version=20,
            verbose=False,
            optimize=optimize,
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
