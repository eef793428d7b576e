"""Smaller numbers: an ONNX file's weights in 16 bits, or its arithmetic in 8."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.models.engine import Inputs

# Smaller ones are not worth a node of their own.
_LEAST_WEIGHTS = 256


def halve_weights(content: bytes) -> bytes:
    """Store weights as float16; engines widen them when they load, so arithmetic stays float32.

    Half the size on every device, without a device that computes in float16.
    """
    model = onnx.load_from_string(content)
    kept, casts = [], []
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or array.size < _LEAST_WEIGHTS:
            kept.append(weight)
            continue
        stored = f"{weight.name}_half"
        kept.append(numpy_helper.from_array(array.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=TensorProto.FLOAT))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    smaller: bytes = model.SerializeToString(deterministic=True)
    return smaller


def quantise(content: bytes, batches: Sequence[Inputs]) -> bytes:
    """Static 8-bit quantisation of convolutions and products, with ranges measured on real inputs.

    Args:
        content: A float32 ONNX file.
        batches: What it will be fed, a few hundred items: arrays by input, or the one array of a file with one input.

    Returns:
        An ONNX file in QDQ form; weights per channel.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = onnx.load_from_string(content).graph.input[0].name

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
        """Feeds the batches once."""

        def __init__(self) -> None:
            self._rest: Iterator[Inputs] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            """The next input, or None at the end."""
            batch = next(self._rest, None)
            return None if batch is None else dict(batch) if isinstance(batch, Mapping) else {name: batch}

    # It logs advice about shape inference to the root logger; the parity check answers that question.
    logging.getLogger().addFilter(_silent)
    try:
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
            given.write_bytes(content)
            quantize_static(
                given,
                made,
                Batches(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                # Weights in 7 bits: processors without VNNI add two products in 16 bits, where 8 overflow. Source:
                # onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "U8S8".
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
                # What a product answers goes to a norm, a memory or out, none of which computes in 8 bits. Rounded
                # all the same, to one range for all its features, the loudest would drown the others.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
            return made.read_bytes()
    finally:
        logging.getLogger().removeFilter(_silent)


def _silent(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
