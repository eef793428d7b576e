"""Conversion: published weights rewritten as ONNX. The same bytes in give the same bytes out.

Nothing is executed or unpickled: an ONNX file is edited as the message it is, dlib's is read as numbers.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.contracts.errors import BadInput

Floats = NDArray[np.float32]


def free_centerface(weights: bytes) -> bytes:
    """Make CenterFace take any batch and any height and width that are multiples of 32.

    The published file fixes its input at 10×3×32×32 and lists every weight as an input, which keeps
    engines from folding them. Ports get names; no weight changes.

    Returns:
        ONNX. `image` N×3×H×W, RGB float 0-255, gives at stride 4: `heatmap` N×1; `scale` N×2, the log of
        the box's height and width over 4; `offset` N×2, y before x; `landmarks` N×10, y before x of five
        points as shares of the box.

    Source: CenterFace, arXiv:1911.03599.
    """
    model = onnx.load_model_from_string(weights)
    graph = model.graph
    weight_names = {tensor.name for tensor in graph.initializer}
    for port in [port for port in graph.input if port.name in weight_names]:
        graph.input.remove(port)

    ports = [(graph.input[0], "image", ("N", "H", "W"))]
    for port, name in zip(graph.output, ("heatmap", "scale", "offset", "landmarks"), strict=True):
        ports.append((port, name, ("N", "H/4", "W/4")))
    renamed = {port.name: name for port, name, _ in ports}
    for port, name, (batch, height, width) in ports:
        port.name = name
        dimensions = port.type.tensor_type.shape.dim
        for index, free in ((0, batch), (2, height), (3, width)):
            dimensions[index].dim_param = free
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return _serialised(model)


def write_dlib_resnet(weights: bytes) -> bytes:
    """Write dlib's face recognition ResNet as ONNX, input normalisation included.

    A 7×7 convolution and 14 residual blocks of two 3×3 convolutions. dlib pads a convolution only at stride
    1; where a block halves the picture its shortcut is a 2×2 average; and where shortcut and block differ
    in size, zeros fill the smaller one at its end. Affine layers are folded into their convolutions.

    Returns:
        ONNX. `chips` N×3×150×150, RGB float 0-255, gives `embeddings` N×128, not normalised.

    Raises:
        BadInput: The bytes do not hold the network's 59 tensors.

    Source: dlib, dnn_face_recognition_ex.cpp (the network's layout, public domain example).
    """
    tensors = _TensorReader(weights)
    graph = _GraphWriter()
    graph.add("Sub", ["chips", graph.constant([[[122.782]], [[117.001]], [[104.298]]])], "centred")
    graph.add("Mul", ["centred", graph.constant(1 / 256)], "scaled")
    graph.convolve("scaled", *tensors.convolution(32, 3, 7), stride=2, out="stem")
    graph.add("Relu", ["stem"], "stem_relu")
    x = graph.add("MaxPool", ["stem_relu"], "block0", kernel_shape=[3, 3], strides=[2, 2])

    channels, side_px = 32, 35
    blocks = [(32, 1)] * 3 + [(64, 2)] + [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 2
    blocks += [(256, 2)] + [(256, 1)] * 2 + [(256, 2)]
    for index, (out_channels, stride) in enumerate(blocks, start=1):
        block = f"block{index}"
        graph.convolve(x, *tensors.convolution(out_channels, channels, 3), stride=stride, out=f"{block}_a")
        graph.add("Relu", [f"{block}_a"], f"{block}_a_relu")
        weight_and_bias = tensors.convolution(out_channels, out_channels, 3)
        deep = graph.convolve(f"{block}_a_relu", *weight_and_bias, stride=1, out=f"{block}_b")
        if stride == 2:
            deep_side_px, shortcut_side_px = (side_px - 3) // 2 + 1, side_px // 2
            x = graph.add("AveragePool", [x], f"{block}_half", kernel_shape=[2, 2], strides=[2, 2])
            x = graph.pad(x, channels=out_channels - channels, side_px=0)
            deep = graph.pad(deep, channels=0, side_px=shortcut_side_px - deep_side_px)
            side_px = shortcut_side_px
        graph.add("Add", [deep, x], f"{block}_sum")
        x = graph.add("Relu", [f"{block}_sum"], block)
        channels = out_channels

    graph.add("GlobalAveragePool", [x], "pooled")
    graph.add("Flatten", ["pooled"], "features")
    projection = tensors.read(256, 128, 1, 1).reshape(256, 128)
    graph.add("MatMul", ["features", graph.constant(projection)], "embeddings")
    return graph.serialise("dlib_face_resnet", ("chips", ["N", 3, 150, 150]), ("embeddings", ["N", 128]))


class _TensorReader:
    """Reads the tensors of a dlib network file in order, each found by the header its shape must have."""

    def __init__(self, file: bytes) -> None:
        self._file = file
        self._position = 0

    def read(self, *shape: int) -> Floats:
        header = b"".join(_dlib_integer(value) for value in (2, *shape))
        at = self._file.find(header, self._position)
        start = at + len(header)
        end = start + 4 * int(np.prod(shape))
        if at < 0 or end > len(self._file):
            raise BadInput(f"not dlib's face network: no tensor of shape {shape} after byte {self._position}")
        self._position = end
        return np.frombuffer(self._file[start:end], "<f4")

    def convolution(self, out_channels: int, in_channels: int, side_px: int) -> tuple[Floats, Floats]:
        """A convolution's weight and bias with the affine layer behind it folded in."""
        count = out_channels * in_channels * side_px**2
        stored = self.read(count + out_channels, 1, 1, 1).astype(np.float64)
        gamma, beta = self.read(2 * out_channels, 1, 1, 1).astype(np.float64).reshape(2, out_channels)
        weight = stored[:count].reshape(out_channels, in_channels, side_px, side_px) * gamma[:, None, None, None]
        bias = stored[count:] * gamma + beta
        return weight.astype(np.float32), bias.astype(np.float32)


def _dlib_integer(value: int) -> bytes:
    """dlib's variable-length form of a positive integer: how many bytes follow, then those bytes."""
    digits = value.to_bytes((value.bit_length() + 7) // 8, "little")
    return bytes([len(digits)]) + digits


class _GraphWriter:
    """Collects nodes and weights; `add` returns the name of the node's output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def constant(self, values: object, dtype: type[np.generic] = np.float32) -> str:
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, operator: str, inputs: list[str], out: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [out], **attributes))
        return out

    def convolve(self, x: str, weight: Floats, bias: Floats, *, stride: int, out: str) -> str:
        side_px = weight.shape[-1]
        margins_px = [side_px // 2 if stride == 1 else 0] * 4
        inputs = [x, self.constant(weight), self.constant(bias)]
        return self.add("Conv", inputs, out, kernel_shape=[side_px] * 2, strides=[stride] * 2, pads=margins_px)

    def pad(self, x: str, *, channels: int, side_px: int) -> str:
        if channels == side_px == 0:
            return x
        margins = self.constant([0, 0, 0, 0, 0, channels, side_px, side_px], np.int64)
        return self.add("Pad", [x, margins], f"{x}_padded")

    def serialise(self, name: str, given: tuple[str, list[str | int]], made: tuple[str, list[str | int]]) -> bytes:
        ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, shape) for port, shape in (given, made)]
        graph = helper.make_graph(self._nodes, name, ports[:1], ports[1:], self._weights)
        # Versions are spelt out so that a newer onnx package writes the same bytes.
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
        return _serialised(model)


def _serialised(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
