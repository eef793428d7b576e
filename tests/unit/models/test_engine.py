import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino
import pytest

from services.contracts.errors import BadInput, BadUsage, MissingModel
from services.models import engine
from services.models.engine import load_network
from services.models.store import ModelStore, StoredModel

from .conftest import CardMaker

CPU_DEVICES = ("cpu", "onnxruntime-cpu")


@pytest.fixture
def tiny(store: ModelStore, card_for: CardMaker, tiny_onnx: bytes) -> StoredModel:
    return store.install(card_for(tiny_onnx), tiny_onnx)


def pictures(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (5, 3, 8, 8), (2, 3, 16, 24)])
def test_both_engines_answer_the_same_at_any_shape(tiny: StoredModel, shape: tuple[int, ...]) -> None:
    x = pictures(*shape)
    openvino_y, onnxruntime_y = (load_network(*tiny, device=device, threads=1).run(x)["y"] for device in CPU_DEVICES)
    assert openvino_y.shape == (shape[0], 4, *shape[2:])
    np.testing.assert_allclose(openvino_y, onnxruntime_y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("device", CPU_DEVICES)
def test_threads_sharing_a_network_get_the_same_bits_as_one_alone(tiny: StoredModel, device: str) -> None:
    network = load_network(*tiny, device=device)
    batches = [pictures(n, 3, 8, 8) * n for n in range(1, 9)]
    alone = [network.run({"x": x})["y"] for x in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: network.run({"x": x})["y"], batches * 4))
    for answer, expected in zip(together, alone * 4, strict=True):
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("device", CPU_DEVICES)
def test_an_answer_is_not_overwritten_by_the_next(tiny: StoredModel, device: str) -> None:
    network = load_network(*tiny, device=device)
    first = network.run(pictures(1, 3, 8, 8))["y"]
    kept = first.copy()
    network.run(pictures(1, 3, 8, 8) + 1)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("device", CPU_DEVICES)
def test_one_flipped_byte_is_refused_before_an_engine_sees_it(
    tiny: StoredModel, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("_OpenVinoNetwork", "_OnnxRuntimeNetwork"):
        monkeypatch.setattr(engine, name, lambda *_, name=name, **__: asked.append(name))
    load_network(*tiny, device=device)
    assert len(asked) == 1

    weights = bytearray(tiny.weights_path.read_bytes())
    weights[len(weights) // 2] ^= 1
    tiny.weights_path.write_bytes(weights)
    with pytest.raises(MissingModel) as refusal:
        load_network(*tiny, device=device)
    assert len(asked) == 1
    assert str(tiny.weights_path) in str(refusal.value)
    assert tiny.card.weights.sha256 in str(refusal.value)
    assert "whodid models fetch" in str(refusal.value)


def test_absent_weights_say_how_to_get_them(tiny: StoredModel) -> None:
    tiny.weights_path.unlink()
    with pytest.raises(MissingModel, match="whodid models fetch"):
        load_network(*tiny)


@pytest.mark.parametrize("device", CPU_DEVICES)
def test_verified_bytes_that_are_no_network_are_bad_input(store: ModelStore, card_for: CardMaker, device: str) -> None:
    junk = store.install(card_for(b"not a network"), b"not a network")
    with pytest.raises(BadInput, match="tiny@1"):
        load_network(*junk, device=device)


def test_devices_that_cannot_serve_are_refused(tiny: StoredModel) -> None:
    with pytest.raises(BadUsage, match="no device 'gpu'"):
        load_network(*tiny, device="gpu")
    for device in ("cuda", "tensorrt"):
        with pytest.raises(BadUsage, match="ExecutionProvider"):
            load_network(*tiny, device=device)


@dataclass
class FakeOnnxRuntime:
    """onnxruntime on a machine with a GPU, or with none that starts: what is asked of it, in order."""

    monkeypatch: pytest.MonkeyPatch
    starts: bool = True
    asked: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import onnxruntime

        both = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        self.monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
        self.monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: self.asked.append("libraries"))
        self.monkeypatch.setattr(onnxruntime, "InferenceSession", self.open_session)

    def open_session(self, _: bytes, *, sess_options: Any, providers: list[str], provider_options: Any) -> Any:
        self.asked += providers
        (self.options,) = provider_options
        # onnxruntime falls back to the CPU without a word when a driver's library is missing.
        started = providers if self.starts else ["CPUExecutionProvider"]
        return SimpleNamespace(get_providers=lambda: started, get_inputs=list, get_outputs=list)


@pytest.mark.parametrize(
    ("device", "provider"), [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")]
)
def test_a_gpu_device_asks_for_its_own_provider_once_its_libraries_are_there(
    tiny: StoredModel, device: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeOnnxRuntime(monkeypatch)
    load_network(*tiny, device=device)
    assert fake.asked == ["libraries", provider]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_does_not_start_is_refused_and_not_replaced_by_the_cpu(
    tiny: StoredModel, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeOnnxRuntime(monkeypatch, starts=False)
    with pytest.raises(BadUsage, match="does not start; check the driver"):
        load_network(*tiny, device=device)


def test_what_tensorrt_compiled_is_never_read_from_a_disk(tiny: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeOnnxRuntime(monkeypatch)
    load_network(*tiny, device="tensorrt")
    assert fake.options["trt_engine_cache_enable"] == fake.options["trt_timing_cache_enable"] == "0"
    assert not any("path" in name for name in fake.options)


def test_a_tensorflow_graph_runs_on_openvino_only(tiny: StoredModel) -> None:
    frozen = tiny.card.weights.model_copy(update={"format": "tensorflow"})
    with pytest.raises(BadUsage, match="tensorflow graph"):
        load_network(tiny.card.model_copy(update={"weights": frozen}), tiny.weights_path, device="onnxruntime-cpu")


@pytest.mark.parametrize("device", CPU_DEVICES)
def test_an_input_by_the_wrong_name_is_refused(tiny: StoredModel, device: str) -> None:
    with pytest.raises(BadInput, match="reads x; it was given image"):
        load_network(*tiny, device=device).run({"image": pictures(1, 3, 8, 8)})


def test_a_graph_compiled_for_one_shape_takes_any_batch_and_then_another_shape(
    tiny: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way TensorFlow graphs run, on a network whose answers are known."""
    network, free = load_network(*tiny), load_network(*tiny)
    monkeypatch.setattr(network, "_one_by_one", True)
    for shape in [(1, 3, 8, 8), (5, 3, 8, 8), (2, 3, 16, 8)]:
        x = pictures(*shape)
        np.testing.assert_allclose(network.run(x)["y"], free.run(x)["y"], rtol=1e-5, atol=1e-3)


def test_importing_the_engine_imports_no_engine() -> None:
    probe = "import sys, services.models.engine; print({'openvino', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_inference_is_in_f32(tiny: StoredModel) -> None:
    network = load_network(*tiny)
    assert isinstance(network, engine._OpenVinoNetwork)
    network.run(pictures(1, 3, 8, 8))
    assert network._request is not None
    precision = network._request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
    assert precision == openvino.Type.f32
