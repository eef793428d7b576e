"""Stage evaluate_face: the trained network on subjects it never met."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.contracts.card import IdentificationCalibration
from services.gallery.calibration import (
    calibrate,
    false_negative_rate,
    false_positive_rate,
    search_random_gallery,
)
from training.config import EvaluateFaceParams, read_config
from training.datasets.face_augmentation import crop_chips
from training.datasets.face_chips import FaceChips
from training.lessons.face import embed_chips, pair_up
from training.metrics.baselines import score_heads
from training.metrics.clustering import cluster_faces, score_clusters
from training.metrics.curves import trace_errors
from training.metrics.intervals import bootstrap_interval
from training.metrics.plots import draw_det, draw_roc
from training.metrics.robustness import FACTORS, embed_attacked, embed_changed
from training.metrics.verification import FALSE_ACCEPTANCES, accept_at, pick_threshold
from training.runs import reopen_run
from training.stages.entry import run
from training.stages.prepare_face import load_sides
from training.stages.train_face import RESULTS as TRAINED
from training.stages.train_face import load_trained

RESULTS = Path("build/evaluate_face")
ATTACK_EPSILON = 4.0
ATTACK_STEPS = 5


def main() -> None:
    """Leave metrics, calibration and curves in `build/evaluate_face`."""
    config = read_config()
    params = config.evaluate_face
    network = load_trained(config.train_face.network, config.prepare_face.chip_px)
    sides = load_sides()
    heldout = sides["heldout"]
    vectors_ND = _unit(embed_chips(network, heldout))
    # The grouping threshold comes from the validation's subjects, not from those it is judged on.
    threshold = pick_threshold(*_pairs(_unit(embed_chips(network, sides["validation"])), sides["validation"].classes))

    metrics = _verify(vectors_ND, heldout, params)
    groups = score_clusters(cluster_faces(vectors_ND, threshold), heldout.classes)
    metrics |= {"pair_f1": groups.pair_f1, "bcubed_f1": groups.bcubed_f1}
    metrics |= {
        f"head.{head}": score for head, score in score_heads(vectors_ND, heldout.classes, seed=params.seed).items()
    }
    metrics |= _weaken(network, heldout, params)
    metrics |= _by_group(vectors_ND, heldout, threshold)
    calibration = _calibrate(vectors_ND, heldout, params)

    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    curve = trace_errors(*_pairs(vectors_ND, heldout.classes))
    draw_roc({"held out": curve}, RESULTS / "roc.png")
    draw_det({"held out": curve}, RESULTS / "det.png")
    origin = json.loads((TRAINED / "run.json").read_text())
    with reopen_run(origin["run_id"]) as tracked:
        tracked.log_metrics({f"evaluate.{name}": value for name, value in metrics.items()})
        tracked.log_folder(RESULTS, "evaluate")


def _verify(vectors_ND: NDArray[np.float32], faces: FaceChips, params: EvaluateFaceParams) -> dict[str, float]:
    similarity_P, same_P = _pairs(vectors_ND, faces.classes)
    one, _ = np.triu_indices(len(faces), 1)
    subject_P = faces.classes[one].astype(str)

    def equal_error(rows: NDArray[np.int64]) -> float:
        kinds = same_P[rows]
        if kinds.all() or not kinds.any():
            return 0.5
        return trace_errors(similarity_P[rows], kinds).equal_error_rate

    low, high = bootstrap_interval(equal_error, subject_P, draws=params.bootstrap_draws, seed=params.seed)
    tar = {
        f"tar_at_far_{far}": accept_at(similarity_P, same_P, far)
        for far in FALSE_ACCEPTANCES
        if far * (~same_P).sum() >= 1
    }
    rows = np.arange(len(same_P))
    return {"eer": equal_error(rows), "eer_low": low, "eer_high": high, **tar}


def _weaken(network: torch.nn.Module, faces: FaceChips, params: EvaluateFaceParams) -> dict[str, float]:
    """Equal error rate between untouched faces and changed ones, by factor and by attack."""
    chips_N3SS = crop_chips(torch.from_numpy(faces.rows(np.arange(len(faces)))), faces.chip_px)
    with torch.no_grad():
        clear_ND = _unit(network(chips_N3SS).numpy())
    changed = {name: embed_changed(network, chips_N3SS, change, seed=params.seed) for name, change in FACTORS.items()}
    for name, attack_steps in (("fgsm", 1), ("pgd", ATTACK_STEPS)):
        changed[name] = embed_attacked(
            network, chips_N3SS, epsilon=ATTACK_EPSILON, attack_steps=attack_steps, seed=params.seed
        )
    one, other = np.triu_indices(len(faces), 1)
    same_P = faces.classes[one] == faces.classes[other]
    errors = {}
    for name, embeddings in changed.items():
        worse_ND = _unit(embeddings.numpy())
        similarity_P = np.einsum("pd,pd->p", clear_ND[one], worse_ND[other]).astype(np.float64)
        errors[f"eer.{name}"] = trace_errors(similarity_P, same_P).equal_error_rate
    return errors


def _by_group(vectors_ND: NDArray[np.float32], faces: FaceChips, threshold: float) -> dict[str, float]:
    """Accuracy of pairs within each group of each attribute that came with the data, at one threshold for all."""
    similarity_P, same_P = _pairs(vectors_ND, faces.classes)
    right_P = (similarity_P >= threshold) == same_P
    one, other = np.triu_indices(len(faces), 1)
    scores = {}
    for attribute in sorted({name for record in faces.records for name in record.groups}):
        value_N = np.array([record.groups.get(attribute, "") for record in faces.records])
        for value in np.unique(value_N[value_N != ""]):
            inside_P = (value_N[one] == value) & (value_N[other] == value)
            if inside_P.any():
                scores[f"accuracy.{attribute}.{value}"] = float(right_P[inside_P].mean())
    return scores


def _calibrate(
    vectors_ND: NDArray[np.float32], faces: FaceChips, params: EvaluateFaceParams
) -> IdentificationCalibration:
    rng = np.random.default_rng(params.seed)
    subject_N = np.array([record.subject_id for record in faces.records])
    searches = [
        search_random_gallery(vectors_ND, subject_N, gallery_size=params.gallery_size, templates=1, rng=rng)
        for _ in range(params.galleries)
    ]
    threshold, margin = calibrate(searches, params.fpir)
    positives = float(np.mean([false_positive_rate(search, threshold) for search in searches]))
    return IdentificationCalibration(
        space=read_config().export_face.name,
        threshold=round(threshold, 4),
        ambiguity_margin=round(margin, 4),
        fpir=params.fpir,
        fnir=round(float(np.mean([false_negative_rate(search, threshold) for search in searches])), 4),
        gallery_size=params.gallery_size,
        protocol=(
            f"{params.galleries} random galleries (seed {params.seed}) of {params.gallery_size} subjects, "
            f"1 picture each; single pictures as probes; at this threshold FPIR {positives:.4f}"
        ),
        data=f"{', '.join(sorted({record.source for record in faces.records}))}: {len(faces.subjects)} subjects",
    )


def _unit(embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    unit_ND: NDArray[np.float32] = embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    return unit_ND


def _pairs(
    vectors_ND: NDArray[np.float32], class_N: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    similarity_P, same_P = pair_up(vectors_ND, class_N)
    return similarity_P.astype(np.float64), same_P


if __name__ == "__main__":
    run(main)
