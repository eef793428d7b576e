"""Stage export: the trained network as ONNX with its ModelCard, answering alike on every engine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import ActionCalibration, Lineage, ModelCard
from services.models.engine import load_network
from services.perception.windows import MOTION_CHANNELS
from training.config import read_config
from training.datasets.windows import WindowSet
from training.export import check_parity, describe_weights, export_onnx
from training.lessons.action import predict_logits
from training.runs import find_origin, reopen_run
from training.stages.entry import run
from training.stages.evaluate import RESULTS as EVALUATED
from training.stages.prepare import RESULTS as PREPARED
from training.stages.train_action import RESULTS as TRAINED
from training.stages.train_action import load_trained

RESULTS = Path("build/export")
ENGINES = ("cpu", "onnxruntime-cpu")
PARITY_WINDOWS = 32


def main() -> None:
    """Leave `model.onnx`, `card.json` and `metrics.json` in `build/export`."""
    config = read_config()
    windows = WindowSet.load(PREPARED / "validation.npz")
    network = load_trained(windows)
    content = export_onnx(network, config.prepare.window, MOTION_CHANNELS)
    weights = describe_weights(content)
    origin = json.loads((TRAINED / "run.json").read_text())
    card = ModelCard(
        name=config.export.name,
        version=weights.sha256[:12],
        task="action",
        description="CNN-LSTM over a person's body strip and the motion of its box, trained on rendered people.",
        weights=weights,
        licence="Apache-2.0",
        lineage=Lineage(
            source=describe_source(origin["git_commit"]),
            git_commit=origin["git_commit"],
            data_md5=origin["data_md5"],
            run_id=origin["run_id"],
        ),
        window=config.prepare.window,
        classes=tuple(windows.classes.tolist()),
        action=ActionCalibration.model_validate_json((EVALUATED / "calibration.json").read_text()),
        metrics=json.loads((EVALUATED / "metrics.json").read_text()),
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    weights_path = RESULTS / weights.file
    weights_path.write_bytes(content)

    some = windows.select(np.arange(len(windows)) < PARITY_WINDOWS)
    inputs: dict[str, NDArray[Any]] = {"rgb": some.rgb(np.arange(len(some))), "motion": some.motion}
    answers = [(engine, load_network(card, weights_path, device=engine).run(inputs)["logits"]) for engine in ENGINES]
    differences = check_parity(predict_logits(network, some), answers, config.export.parity_limit)

    (RESULTS / "card.json").write_text(card.model_dump_json(indent=2) + "\n")
    metrics = {f"parity_{engine}": difference for engine, difference in differences.items()}
    metrics["size_bytes"] = float(weights.size_bytes)
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    with reopen_run(origin["run_id"]) as tracked:
        tracked.log_metrics({f"export.{name}": value for name, value in metrics.items()})


def describe_source(trained_at: str) -> str:
    """How the file was made; where code other than the training's exported it, at which commit."""
    exported_at = find_origin().git_commit
    return "dvc repro" if exported_at == trained_at else f"dvc repro, exported at {exported_at}"


if __name__ == "__main__":
    run(main)
