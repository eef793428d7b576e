"""Stage train_action: a CNN-LSTM learns what people do in the prepared windows."""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from services.contracts.errors import MissingModel
from training.config import NetworkParams, read_config
from training.datasets.splits import refuse_leak
from training.datasets.windows import WindowSet
from training.fit import Epoch, fit
from training.lessons.action import ActionLesson
from training.networks.action import CnnLstm
from training.runs import DataInput, start_run
from training.stages.entry import run
from training.stages.prepare import RESULTS as PREPARED

RESULTS = Path("build/train_action")
CHECKPOINT = Path("build/checkpoints/train_action.safetensors")


def main() -> None:
    """Train, and leave the network, its run and its metrics in `build/train_action`."""
    params = read_config().train_action
    paths = {side: PREPARED / f"{side}.npz" for side in ("train", "validation")}
    sides = {side: WindowSet.load(path) for side, path in paths.items()}
    refuse_leak({side: windows.subjects() for side, windows in sides.items()})
    named = {side: windows.select(windows.actions >= 0) for side, windows in sides.items()}

    digest = hashlib.sha256(params.model_dump_json().encode())
    for path in paths.values():
        digest.update(path.read_bytes())
    torch.set_num_threads(params.threads)
    torch.manual_seed(params.seed)
    network = make_network(params.network, named["train"])

    inputs = [DataInput(f"{side} windows", path, side) for side, path in paths.items()]
    with start_run("action", params.model_dump(), inputs) as tracked:

        def report(epoch: Epoch) -> None:
            tracked.log_metrics(epoch.values(), step=epoch.epoch)
            sys.stderr.write(
                f"epoch {epoch.epoch + 1}/{params.epochs}: loss {epoch.train_loss:.3f}, validation "
                f"{epoch.validation_loss:.3f}, accuracy {epoch.measures['validation_accuracy']:.3f}\n"
            )

        history = fit(
            ActionLesson(network, named["train"], named["validation"], params),
            params,
            checkpoint=CHECKPOINT,
            fingerprint=digest.hexdigest(),
            report=report,
        )

    RESULTS.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, RESULTS / "network.safetensors")
    (RESULTS / "run.json").write_text(json.dumps({"run_id": tracked.run_id, **asdict(tracked.origin)}, indent=2))
    best = min(history, key=lambda epoch: epoch.validation_loss)
    metrics = {
        "epochs": len(history),
        "best_epoch": best.epoch,
        "train_windows": len(named["train"]),
        "validation_windows": len(named["validation"]),
        "validation_loss": best.validation_loss,
        "validation_accuracy": best.measures["validation_accuracy"],
    }
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def make_network(params: NetworkParams, windows: WindowSet) -> CnnLstm:
    """A fresh network for windows like these; torch's seed decides its weights."""
    return CnnLstm(
        classes=len(windows.classes),
        size_px=windows.pictures.shape[1],
        channels=params.channels,
        lstm_units=params.lstm_units,
        dropout=params.dropout,
    )


def load_trained(windows: WindowSet) -> CnnLstm:
    """The network this stage left, for windows like these.

    Raises:
        MissingModel: It has not run.
    """
    path = RESULTS / "network.safetensors"
    if not path.is_file():
        raise MissingModel(f"no trained network at {path}: run `dvc repro train_action`")
    network = make_network(read_config().train_action.network, windows)
    network.load_state_dict(load_file(path))
    return network.eval()


if __name__ == "__main__":
    run(main)
