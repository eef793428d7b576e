"""Stage export_face: the trained network as ONNX in three precisions, one of them with its ModelCard."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.contracts.card import EmbeddingSpec, IdentificationCalibration, Lineage, ModelCard
from services.models.engine import load_network
from training.config import Config, read_config
from training.datasets.face_augmentation import crop_chips
from training.datasets.face_chips import FaceChips
from training.export import check_parity, describe_weights, export_embedder
from training.lessons.face import pair_up
from training.metrics.curves import trace_errors
from training.precision import halve_weights, quantise
from training.runs import reopen_run
from training.stages.entry import run
from training.stages.evaluate_face import RESULTS as EVALUATED
from training.stages.prepare_face import chip_spec, load_sides
from training.stages.train_face import RESULTS as TRAINED
from training.stages.train_face import load_trained

RESULTS = Path("build/export_face")
ENGINES = ("cpu", "onnxruntime-cpu")
_CALIBRATION_FACES, _BATCH = 256, 32


def main() -> None:
    """Leave `model.onnx`, `card.json` and `metrics.json` in `build/export_face`; print what each precision costs."""
    config = read_config()
    params = config.export_face
    network = load_trained(config.train_face.network, config.prepare_face.chip_px)
    sides = load_sides()
    full = export_embedder(network, config.prepare_face.chip_px)
    calibration = _chips(sides["train"])[:_CALIBRATION_FACES]
    batches = [calibration[start : start + _BATCH] for start in range(0, len(calibration), _BATCH)]
    precisions = {"fp32": full, "fp16": halve_weights(full), "int8": quantise(full, batches)}

    chips_N3SS = _chips(sides["validation"])
    with torch.inference_mode():
        expected_ND = network(torch.from_numpy(chips_N3SS)).numpy()
    RESULTS.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, float] = {}
    for precision, content in precisions.items():
        card = _describe(content, precision, config)
        (RESULTS / card.weights.file).write_bytes(content)
        # One thread each: several add up in any order, and int8 makes another answer of the last digit.
        engines = {
            engine: load_network(card, RESULTS / card.weights.file, device=engine, threads=1) for engine in ENGINES
        }
        answers = {engine: loaded.run(chips_N3SS)["embeddings"] for engine, loaded in engines.items()}
        if precision == "fp32":
            differences = check_parity(expected_ND, list(answers.items()), params.parity_limit)
            metrics |= {f"parity_{engine}": difference for engine, difference in differences.items()}
        served_ND = answers[ENGINES[0]]
        metrics[f"{precision}.bytes"] = float(len(content))
        metrics[f"{precision}.least_cosine"] = _least_cosine(expected_ND, served_ND)
        metrics[f"{precision}.eer"] = _equal_error(served_ND, sides["validation"])
        print(f"{precision}: {len(content) / 1e6:.2f} MB, equal error rate {metrics[f'{precision}.eer']:.4f}")

    chosen = _describe(precisions[params.precision], params.precision, config)
    (RESULTS / chosen.weights.file).write_bytes(precisions[params.precision])
    (RESULTS / "card.json").write_text(chosen.model_dump_json(indent=2) + "\n")
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    with reopen_run(json.loads((TRAINED / "run.json").read_text())["run_id"]) as tracked:
        tracked.log_metrics({f"export.{name}": value for name, value in metrics.items()})


def _describe(content: bytes, precision: str, config: Config) -> ModelCard:
    weights = describe_weights(content)
    origin = json.loads((TRAINED / "run.json").read_text())
    return ModelCard(
        name=config.export_face.name,
        version=weights.sha256[:12],
        task="face_embedding",
        description=f"Faces to {config.train_face.network.embedding} numbers, not unit length; weights in {precision}.",
        weights=weights,
        licence="Apache-2.0",
        lineage=Lineage(
            source="dvc repro",
            git_commit=origin["git_commit"],
            data_md5=origin["data_md5"],
            run_id=origin["run_id"],
        ),
        chip=chip_spec(config.prepare_face),
        embedding=EmbeddingSpec(space=config.export_face.name, dimension=config.train_face.network.embedding),
        identification=IdentificationCalibration.model_validate_json((EVALUATED / "calibration.json").read_text()),
        metrics={name: float(value) for name, value in json.loads((EVALUATED / "metrics.json").read_text()).items()},
    )


def _chips(faces: FaceChips) -> NDArray[np.float32]:
    return crop_chips(torch.from_numpy(faces.rows(np.arange(len(faces)))), faces.chip_px).contiguous().numpy()


def _least_cosine(one_ND: NDArray[np.float32], other_ND: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(one_ND, axis=1) * np.linalg.norm(other_ND, axis=1)
    return float((np.einsum("nd,nd->n", one_ND, other_ND) / norms).min())


def _equal_error(embeddings_ND: NDArray[np.float32], faces: FaceChips) -> float:
    similarity_P, same_P = pair_up(embeddings_ND, faces.classes)
    return trace_errors(similarity_P.astype(np.float64), same_P).equal_error_rate


if __name__ == "__main__":
    run(main)
