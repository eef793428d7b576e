"""A tiny real network, its card, and an empty store."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.contracts.card import Lineage, ModelCard, Weights
from services.models.store import ModelStore


class CardMaker:
    """Writes cards for bytes, so that a test names only what it is about."""

    def __call__(self, weights: bytes, *, name: str = "tiny", version: str = "1") -> ModelCard:
        return ModelCard(
            name=name,
            version=version,
            task="face_detection",
            description="A network for tests.",
            weights=Weights(
                file="tiny.onnx",
                sha256=hashlib.sha256(weights).hexdigest(),
                size_bytes=len(weights),
                format="onnx",
            ),
            licence="Apache-2.0",
            lineage=Lineage(source="a test"),
            minimum_confidence=0.5,
        )


@pytest.fixture
def card_for() -> CardMaker:
    return CardMaker()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture(scope="session")
def tiny_onnx() -> bytes:
    """`y = relu(conv(x))`, free in batch, height and width."""
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["conv"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, "H", "W"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
