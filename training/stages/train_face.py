"""Stage train_face: a network learns to tell faces apart."""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from services.contracts.errors import MissingModel
from training import processes
from training.config import FaceNetworkParams, TrainFaceParams, read_config
from training.datasets.face_augmentation import augment_faces, crop_chips
from training.datasets.face_chips import FaceChips
from training.fit import Epoch, fit
from training.lessons.face import FaceLesson
from training.metrics.grids import draw_faces, shade_by_attention
from training.networks.costs import count_costs
from training.networks.face import FaceNetwork, FaceShape
from training.runs import DataInput, start_run
from training.stages.entry import run
from training.stages.prepare_face import RESULTS as PREPARED
from training.stages.prepare_face import load_sides, load_teacher

RESULTS = Path("build/train_face")
CHECKPOINT = Path("build/checkpoints/train_face.safetensors")
_SHOWN = 32


def main() -> None:
    """Train, and leave the network, its run and its metrics in `build/train_face`."""
    config = read_config()
    params = config.train_face
    sides = load_sides()
    torch.set_num_threads(params.threads)
    torch.manual_seed(params.seed)
    network = make_network(params.network, config.prepare_face.chip_px)
    lesson = FaceLesson(network, sides["train"], sides["validation"], params, teacher_ND=load_teacher())
    costs = count_costs(network, [torch.zeros(1, 3, config.prepare_face.chip_px, config.prepare_face.chip_px)])

    digest = hashlib.sha256(params.model_dump_json().encode())
    for side in ("train", "validation"):
        digest.update("".join(record.model_dump_json() for record in sides[side].records).encode())
    inputs = [DataInput("face sides", PREPARED / "sides.json", "train")]
    if not processes.leads():
        # The others only learn along; the first keeps the record.
        fit(lesson, params, checkpoint=CHECKPOINT, fingerprint=digest.hexdigest(), report=lambda _: None)
        return
    with start_run("face", params.model_dump(), inputs) as tracked:

        def report(epoch: Epoch) -> None:
            tracked.log_metrics(epoch.values(), step=epoch.epoch)
            sys.stderr.write(
                f"epoch {epoch.epoch + 1}/{params.epochs}: loss {epoch.train_loss:.3f}, "
                f"validation AUC {epoch.measures['validation_auc']:.4f}\n"
            )

        history = fit(lesson, params, checkpoint=CHECKPOINT, fingerprint=digest.hexdigest(), report=report)
        with TemporaryDirectory() as folder:
            _draw(network.eval(), sides["train"], params, Path(folder))
            tracked.log_folder(Path(folder), "faces")
    RESULTS.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, RESULTS / "network.safetensors")
    (RESULTS / "run.json").write_text(json.dumps({"run_id": tracked.run_id, **asdict(tracked.origin)}, indent=2))
    best = min(history, key=lambda epoch: epoch.validation_loss)
    metrics = {
        "epochs": len(history),
        "best_epoch": best.epoch,
        "train_faces": len(sides["train"]),
        **best.measures,
        "parameters": costs.parameters,
        "flops": costs.flops,
    }
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def _draw(network: FaceNetwork, train: FaceChips, params: TrainFaceParams, folder: Path) -> None:
    """What the network met in training, and where each of its attentive stages looks."""
    canvases = torch.from_numpy(train.rows(np.arange(min(_SHOWN, len(train)))))
    generator = torch.Generator().manual_seed(params.seed)
    draw_faces(augment_faces(canvases, train.chip_px, params.augmentation, generator), folder / "augmented.png")
    chips_N3SS = crop_chips(canvases, train.chip_px)
    with torch.inference_mode():
        for stage, weights_NHW in network.attention_maps(chips_N3SS).items():
            draw_faces(shade_by_attention(chips_N3SS, weights_NHW), folder / f"attention_{stage}.png")


def make_network(params: FaceNetworkParams, chip_px: int) -> FaceNetwork:
    """A fresh network; torch's seed decides its weights."""
    return FaceNetwork(FaceShape(**params.model_dump()), chip_px)


def load_trained(params: FaceNetworkParams, chip_px: int) -> FaceNetwork:
    """The network this stage left.

    Raises:
        MissingModel: It has not run.
    """
    path = RESULTS / "network.safetensors"
    if not path.is_file():
        raise MissingModel(f"no trained network at {path}: run `dvc repro train_face`")
    network = make_network(params, chip_px)
    network.load_state_dict(load_file(path))
    return network.eval()


if __name__ == "__main__":
    run(main)
