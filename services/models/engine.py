"""Engine: runs a card's network on a device. The only importer of openvino and onnxruntime, both lazily."""

import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import ModelCard
from services.contracts.errors import BadInput, BadUsage
from services.models.store import read_weights

if TYPE_CHECKING:
    import openvino

Tensor = NDArray[Any]
Inputs = Mapping[str, Tensor] | Tensor

DEVICES = ("cpu", "onnxruntime-cpu", "cuda", "tensorrt")


class Network(Protocol):
    """Weights made ready on one device. Threads may share it; the same input gives the same bits."""

    def run(self, inputs: Inputs) -> dict[str, Tensor]:
        """Run one batch.

        Args:
            inputs: Arrays by input name, or the one array of a network with one input. Shapes and dtypes
                are the network's own; a batch has at least one item.

        Returns:
            Arrays by output name; an output with several names is there under each.

        Raises:
            BadInput: The inputs are not the ones the network reads.
        """


def load_network(card: ModelCard, weights_path: Path, *, device: str = "cpu", threads: int = 0) -> Network:
    """Verify a model's weights and make them ready to run.

    The file is read once: the bytes whose digest is checked are the bytes the engine parses.

    Args:
        card: Names the weights' sha256 and format.
        weights_path: The weights file.
        device: "cpu" is OpenVINO in f32; the others are ONNX Runtime's providers.
        threads: Threads one call may use on a CPU; 0 leaves it to the engine.

    Raises:
        MissingModel: The weights are absent or not the ones the card names.
        BadUsage: No such device, or it cannot run this model here.
        BadInput: The engine cannot read the weights.
    """
    if device not in DEVICES:
        raise BadUsage(f"no device {device!r}; the devices are {', '.join(DEVICES)}")
    if device != "cpu" and card.weights.format != "onnx":
        raise BadUsage(f"{card.name} is a {card.weights.format} graph, which only device cpu runs, not {device!r}")
    weights = read_weights(card, weights_path)
    if device == "cpu":
        return _OpenVinoNetwork(card, weights, threads)
    return _OnnxRuntimeNetwork(card, weights, device, threads)


class _OpenVinoNetwork:
    """OpenVINO on the CPU, in f32: its bf16 default moves embeddings from machine to machine.

    One request behind a lock: under the latency hint one call already uses every thread, so a second
    request would wait for the first all the same and only add buffers.
    """

    def __init__(self, card: ModelCard, weights: bytes, threads: int) -> None:
        self._model = _parse_with_openvino(card, weights)
        self._input_names = [port.any_name for port in self._model.inputs]
        # A graph with loops in it, as TensorFlow's detectors are, runs a third faster compiled for one exact
        # shape and gains nothing from batches. Others are as fast with every dimension free.
        self._one_by_one = card.weights.format == "tensorflow"
        self._config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            # Who asks for fewer threads than cores runs several processes; pinned, all would share the first core.
            self._config |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        self._compiled_shapes: dict[str, list[int]] | None = None
        self._request: openvino.InferRequest | None = None
        self._lock = threading.Lock()

    def run(self, inputs: Inputs) -> dict[str, Tensor]:
        named = _by_name(inputs, self._input_names)
        with self._lock:
            if not self._one_by_one:
                return self._infer(named)
            length = len(named[self._input_names[0]])
            items = [self._infer({name: array[i : i + 1] for name, array in named.items()}) for i in range(length)]
        return {name: np.concatenate([item[name] for item in items]) for name in items[0]}

    def _infer(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        request = self._request_for({name: list(array.shape) for name, array in named.items()})
        request.infer(named, share_inputs=True)
        outputs = request.model_outputs
        arrays = [np.array(request.get_output_tensor(index).data) for index in range(len(outputs))]
        return {name: array for port, array in zip(outputs, arrays, strict=True) for name in port.names}

    def _request_for(self, shapes: dict[str, list[int]]) -> "openvino.InferRequest":
        stale = self._one_by_one and shapes != self._compiled_shapes
        if self._request is None or stale:
            if stale:
                self._model.reshape(shapes)
            compiled = _openvino_core().compile_model(self._model, "CPU", self._config)
            self._request, self._compiled_shapes = compiled.create_infer_request(), shapes
        return self._request


class _OnnxRuntimeNetwork:
    """ONNX Runtime; its sessions may be called from several threads at once."""

    def __init__(self, card: ModelCard, weights: bytes, device: str, threads: int) -> None:
        try:
            import onnxruntime
            from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf
        except ModuleNotFoundError:
            raise BadUsage(f"device {device!r} needs onnxruntime: install whodid[gpu], or use cpu") from None
        provider, options = _onnxruntime_provider(device)
        if provider not in onnxruntime.get_available_providers():
            raise BadUsage(
                f"device {device!r} needs {provider}, and this onnxruntime has only "
                f"{', '.join(onnxruntime.get_available_providers())}: install whodid[gpu], or use cpu"
            )
        if device in ("cuda", "tensorrt"):
            # CUDA's and cuDNN's libraries come as wheels (the extra `gpu`); only the driver is the node's.
            onnxruntime.preload_dlls()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.use_deterministic_compute = True
        settings.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                weights, sess_options=settings, providers=[provider], provider_options=[options]
            )
        except (Fail, InvalidGraph, InvalidProtobuf) as fault:
            raise BadInput(f"onnxruntime cannot read {card.name}@{card.version}: {_last_line(fault)}") from fault
        if self._session.get_providers()[0] != provider:
            # It falls back to the CPU with no more than a log line when a driver library is missing.
            raise BadUsage(f"device {device!r}: {provider} does not start; check the driver, or use cpu")
        self._input_names = [port.name for port in self._session.get_inputs()]
        self._output_names = [port.name for port in self._session.get_outputs()]

    def run(self, inputs: Inputs) -> dict[str, Tensor]:
        named = _by_name(inputs, self._input_names)
        return dict(zip(self._output_names, self._session.run(self._output_names, named), strict=True))


@cache
def _openvino_core() -> "openvino.Core":
    import openvino

    return openvino.Core()


def _parse_with_openvino(card: ModelCard, weights: bytes) -> "openvino.Model":
    core = _openvino_core()
    try:
        match card.weights.format:
            case "onnx":
                return core.read_model(model=weights)
            case "tensorflow":
                # OpenVINO reads frozen graphs from a path only; a private copy keeps parsed = verified.
                with tempfile.TemporaryDirectory(prefix="whodid-") as private:
                    copy = Path(private) / "graph.pb"
                    copy.write_bytes(weights)
                    return core.read_model(copy)
            case unknown:
                assert_never(unknown)
    except RuntimeError as fault:
        raise BadInput(f"OpenVINO cannot read {card.name}@{card.version}: {_last_line(fault)}") from fault


def _onnxruntime_provider(device: str) -> tuple[str, dict[str, str]]:
    if device == "onnxruntime-cpu":
        return "CPUExecutionProvider", {}
    if device == "cuda":
        # An exhaustive search times algorithms, so the choice, and the last bits, change from run to run.
        return "CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    # What TensorRT compiles is code that no card names, so it is never read from a disk: each process compiles its own,
    # which takes minutes, before it says that it is ready.
    return "TensorrtExecutionProvider", {
        "trt_fp16_enable": "0",
        "trt_engine_cache_enable": "0",
        "trt_timing_cache_enable": "0",
    }


def _by_name(inputs: Inputs, names: list[str]) -> dict[str, Tensor]:
    named = inputs if isinstance(inputs, Mapping) else {names[0]: inputs}
    if set(named) != set(names):
        raise BadInput(f"the network reads {', '.join(names)}; it was given {', '.join(named)}")
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


def _last_line(fault: Exception) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__
