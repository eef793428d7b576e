"""Our readers of published weights against the programs those weights were published for.

`dlib_resnet_without_weights.dat` is the structure of dlib_face_recognition_resnet_model_v1.dat (CC0-1.0) with
`{weights}` where each tensor's numbers stood: filled with any numbers, it is a file that dlib itself loads.
"""

from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import dlib
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.contracts.errors import BadInput, MissingModel
from services.models.conversion import free_centerface, write_dlib_resnet
from services.models.engine import load_network
from services.models.store import ModelStore
from services.settings import read_settings

from .conftest import CardMaker

Floats = NDArray[np.float32]

# (channels out, channels in, side) of the 29 convolutions, from the 7×7 stem to the last block.
CONVOLUTIONS = [
    (32, 3, 7),
    *[(32, 32, 3)] * 6,
    *[(64, 32, 3), *[(64, 64, 3)] * 7],
    *[(128, 64, 3), *[(128, 128, 3)] * 5],
    *[(256, 128, 3), *[(256, 256, 3)] * 7],
]


def random_tensors(seed: int) -> Iterator[Floats]:
    """Tensors in the file's order, of a size that keeps activations neither dead nor exploding."""
    rng = np.random.default_rng(seed)
    for out_channels, in_channels, side in CONVOLUTIONS:
        spread = np.sqrt(1 / (in_channels * side**2))
        weight = rng.normal(0, spread, out_channels * in_channels * side**2)
        yield np.concatenate([weight, rng.normal(0, 0.1, out_channels)]).astype("<f4")
        yield np.concatenate([rng.uniform(0.7, 1.3, out_channels), rng.normal(0, 0.1, out_channels)]).astype("<f4")
    yield rng.normal(0, 1 / 16, 256 * 128).astype("<f4")


def folded_tensors(weights: bytes) -> Iterator[Floats]:
    """The tensors of a converted network, as a dlib file whose affine layers do nothing but add the bias."""
    tensors = [numpy_helper.to_array(tensor) for tensor in onnx.load_model_from_string(weights).graph.initializer]
    kernels = [tensor for tensor in tensors if tensor.ndim == 4]
    biases = [tensor for tensor in tensors if tensor.ndim == 1 and tensor.dtype == np.float32]
    for kernel, bias in zip(kernels, biases, strict=True):
        yield np.concatenate([kernel.ravel(), np.zeros_like(bias)])
        yield np.concatenate([np.ones_like(bias), bias])
    yield next(tensor for tensor in tensors if tensor.ndim == 2)


def write_dlib_file(tensors: Iterator[Floats]) -> bytes:
    pieces = (Path(__file__).parent / "dlib_resnet_without_weights.dat").read_bytes().split(b"{weights}")
    numbers = [tensor.astype("<f4").tobytes() for tensor in tensors]
    assert len(pieces) == len(numbers) + 1 == 60
    return b"".join(chain.from_iterable(zip_longest(pieces, numbers, fillvalue=b"")))


def cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    a, b = (x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    cosine: NDArray[np.float64] = np.einsum("nd,nd->n", a, b)
    return cosine


def embed_with_dlib(file: bytes, chips: NDArray[np.uint8], folder: Path) -> Floats:
    (folder / "network.dat").write_bytes(file)
    network = dlib.face_recognition_model_v1(str(folder / "network.dat"))
    return np.array([network.compute_face_descriptor(chip) for chip in chips], np.float32)


def planes(chips: NDArray[np.uint8]) -> Floats:
    return chips.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize("device", ["cpu", "onnxruntime-cpu"])
def test_dlibs_network_with_any_weights_answers_as_dlib_does(
    store: ModelStore, card_for: CardMaker, tmp_path: Path, device: str
) -> None:
    file = write_dlib_file(random_tensors(seed=0))
    chips = np.random.default_rng(1).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    chips[1] = 255  # a flat picture shows the border of every padded layer
    weights = write_dlib_resnet(file)
    network = load_network(*store.install(card_for(weights), weights), device=device)
    ours, dlibs = network.run(planes(chips))["embeddings"], embed_with_dlib(file, chips, tmp_path)
    assert np.linalg.norm(dlibs, axis=1).min() > 0.1
    assert cosines(ours, dlibs).min() > 0.999999
    np.testing.assert_allclose(ours, dlibs, rtol=1e-3, atol=1e-4)


def test_the_shipped_embedder_answers_as_dlib_does_on_real_faces(shared_data: Path, tmp_path: Path) -> None:
    from PIL import Image

    try:
        model = ModelStore(read_settings().models).find("dlib-face-resnet")
    except MissingModel as absent:
        pytest.skip(str(absent))
    pictures = sorted((shared_data / "faces" / "lfw").glob("*/*_0001.jpg"))[:100:10]
    chips = np.stack([np.asarray(Image.open(path).convert("RGB").resize((150, 150))) for path in pictures])
    ours = load_network(*model).run(planes(chips))["embeddings"]
    dlibs = embed_with_dlib(write_dlib_file(folded_tensors(model.weights_path.read_bytes())), chips, tmp_path)
    assert cosines(ours, dlibs).min() > 0.999999


def test_the_same_dlib_file_gives_the_same_bytes() -> None:
    file = write_dlib_file(random_tensors(seed=0))
    assert write_dlib_resnet(file) == write_dlib_resnet(file)


@pytest.mark.parametrize("spoil", [lambda file: b"", lambda file: file[:-40_000], lambda file: file[5_000_000:]])
def test_a_file_without_every_tensor_is_refused(spoil: Any) -> None:
    with pytest.raises(BadInput, match="no tensor of shape"):
        write_dlib_resnet(spoil(write_dlib_file(random_tensors(seed=0))))


def test_freeing_a_detectors_shape_changes_no_answer(store: ModelStore, card_for: CardMaker) -> None:
    """On a network exported as CenterFace was: fixed shape, weights listed as inputs, outputs by number."""
    published = exported_like_centerface()
    freed = free_centerface(published)
    assert [port.name for port in onnx.load_model_from_string(freed).graph.input] == ["image"]
    assert freed == free_centerface(published)

    before = load_network(*store.install(card_for(published), published))
    after = load_network(*store.install(card_for(freed), freed))
    x = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    old, new = before.run({"input.1": x}), after.run({"image": x})
    for number, name in zip(("537", "538", "539", "540"), ("heatmap", "scale", "offset", "landmarks"), strict=True):
        np.testing.assert_allclose(new[name], old[number], rtol=1e-5, atol=1e-3)
    assert after.run(x[:1, :, :, :].repeat(2, axis=3))["landmarks"].shape == (1, 10, 8, 16)


def exported_like_centerface() -> bytes:
    rng = np.random.default_rng(0)
    heads = {"537": 1, "538": 2, "539": 2, "540": 10}
    kernels = {f"w{out}": rng.normal(size=(channels, 3, 4, 4)).astype(np.float32) for out, channels in heads.items()}
    float_ports = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input.1", f"w{out}"], [out], strides=[4, 4]) for out in heads],
        "exported",
        [
            *[float_ports(name, TensorProto.FLOAT, kernel.shape) for name, kernel in kernels.items()],
            float_ports("input.1", TensorProto.FLOAT, [10, 3, 32, 32]),
        ],
        [float_ports(out, TensorProto.FLOAT, [10, channels, 8, 8]) for out, channels in heads.items()],
        [numpy_helper.from_array(kernel, name) for name, kernel in kernels.items()],
    )
    model = helper.make_model(graph, ir_version=4, opset_imports=[helper.make_opsetid("", 9)])
    content: bytes = model.SerializeToString()
    return content
