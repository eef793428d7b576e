"""A tiny action network with its card."""

import hashlib

from onnx import TensorProto, helper

from services.contracts.card import ModelCard
from services.models.store import StoredModel


def make_network(path, *, bias: float):
    """The mean of pictures and motion, and a bias that makes the bytes differ."""
    rgb = helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["N", 4, 16, 16, 3])
    motion = helper.make_tensor_value_info("motion", TensorProto.FLOAT, ["N", 4, 5])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    all_axes = helper.make_tensor("all_axes", TensorProto.INT64, [4], [1, 2, 3, 4])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1])
    offset = helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["motion", "axes"], ["mean"]),
            helper.make_node("Reshape", ["mean", "shape"], ["flat"]),
            helper.make_node("Cast", ["rgb"], ["pictures"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pictures", "all_axes"], ["light"]),
            helper.make_node("Reshape", ["light", "shape"], ["flat_light"]),
            helper.make_node("Sum", ["flat", "flat_light", "bias"], ["logits"]),
        ],
        "net",
        [rgb, motion],
        [logits],
        [axes, all_axes, shape, offset],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def make_model(folder, *, bias=0.0, **changes) -> StoredModel:
    folder.mkdir()
    path = folder / "model.onnx"
    make_network(path, bias=bias)
    content = path.read_bytes()
    card = {
        "name": "net",
        "version": "1",
        "task": "action",
        "description": "for a test",
        "weights": {
            "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "format": "onnx",
        },
        "licence": "Apache-2.0",
        "lineage": {"source": "a test", "git_commit": "a" * 40, "data_md5": "b" * 32, "run_id": "c" * 32},
        "window": {"frames": 4, "rate_hz": 4, "stride_seconds": 0.5, "size_px": 16, "motion": True},
        "classes": ["stand"],
        "action": {"temperature": 1, "minimum_probability": 0.5, "minimum_seconds": 0},
    }
    return StoredModel(ModelCard.model_validate(card | changes), path)
