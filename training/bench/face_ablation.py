"""Which parts of a face network help, on one small budget; and whether a new network can keep an old one's space."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from services.contracts.errors import BadInput
from training.bench.table import Bar, BenchTable, Cell
from training.config import (
    FaceAugmentationParams,
    FaceNetworkParams,
    MarginParams,
    ObjectiveParams,
    TrainFaceParams,
    TripletParams,
)
from training.datasets.face_chips import MARGIN_SHARE, FaceChips
from training.fit import fit
from training.lessons.face import FaceLesson, embed_chips, pair_up
from training.metrics.curves import trace_errors
from training.metrics.verification import accept_at
from training.networks.face import FaceNetwork, FaceShape

CHIP_PX, WIDTH, EMBEDDING = 24, 8, 128
LEAST_PICTURES, MOST_PICTURES, VALIDATION_SHARE = 3, 8, 0.3
ATTENTION_STAGES = ("stage3", "stage4")
ATTENTIONS = ("none", "spatial", "channel", "both")
FUSIONS = ("add", "concat", "attention", "top_down")
ABLATION_FAR, COMPATIBLE_FAR = 0.01, 0.001
COMPATIBLE_POINTS, UNTRAINED = 0.02, 0.01
# Compared with an old network, a new one must be about as good: both get longer than the ablation's runs.
COMPATIBLE_EPOCHS = 2
_WATCHED = 64

Progress = Callable[[str, float, float], None]


def _objective(margin: str | None, *, triplet: bool = False, compatible: float = 0.0) -> ObjectiveParams:
    sizes = {"softmax": 0.0, "cosface": 0.2, "arcface": 0.3}
    head = {"kind": margin, "weight": 1.0, "scale": 24.0, "warmup_epochs": 1.0}
    return ObjectiveParams(
        margin=MarginParams.model_validate({**head, "margin": sizes[margin]}) if margin else None,
        triplet=TripletParams(mining="semi_hard", weight=1.0, margin=0.3) if triplet else None,
        distillation=0.0,
        relations=0.0,
        compatible=compatible,
    )


OBJECTIVES: Mapping[str, ObjectiveParams] = {
    "softmax": _objective("softmax"),
    "cosface": _objective("cosface"),
    "arcface": _objective("arcface"),
    "triplet": _objective(None, triplet=True),
    "arcface + triplet": _objective("arcface", triplet=True),
}


@dataclass(frozen=True)
class Bench:
    """Faces to learn from and to be measured on, and where finished runs are kept.

    Attributes:
        train: Small chips of some people.
        validation: Of others.
        folder: A file for each finished run: a bench that was stopped goes on where it was.
        epochs: Of every run.
    """

    train: FaceChips
    validation: FaceChips
    folder: Path
    epochs: int

    @classmethod
    def open(cls, faces: FaceChips, folder: Path, epochs: int) -> "Bench":
        """Take the people with pictures enough, at most so many of each, and split them by subject.

        Raises:
            BadInput: There are too few of them for two sides with strangers on each.
        """
        rng = np.random.default_rng(0)
        kept: dict[int, NDArray[np.int64]] = {}
        for subject in range(len(faces.subjects)):
            rows = np.flatnonzero(faces.classes == subject)
            if len(rows) >= LEAST_PICTURES:
                kept[subject] = rng.permutation(rows)[:MOST_PICTURES]
        subjects = rng.permutation(sorted(kept))
        cut = round(VALIDATION_SHARE * len(subjects))
        if cut < 2:
            raise BadInput(f"{len(kept)} of {len(faces.subjects)} people have {LEAST_PICTURES} pictures: too few")
        sides = (np.sort(np.concatenate([kept[one] for one in some])) for some in (subjects[cut:], subjects[:cut]))
        train, validation = (_shrink(faces.only(rows)) for rows in sides)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(train, validation, folder, epochs)

    @property
    def who(self) -> str:
        """Both sides in words."""
        return (
            f"{len(self.train)} faces of {len(self.train.subjects)} people to learn from, measured on every pair of "
            f"{len(self.validation)} faces of {len(self.validation.subjects)} others"
        )

    @cached_property
    def _digest(self) -> str:
        records = [record.model_dump_json() for side in (self.train, self.validation) for record in side.records]
        return hashlib.sha256(f"{self.train.chip_px}{''.join(records)}".encode()).hexdigest()

    def trained(
        self, shape: FaceNetworkParams, recipe: TrainFaceParams, teacher_ND: NDArray[np.float32] | None = None
    ) -> FaceNetwork:
        """The network a recipe makes; from the folder when it was made before."""
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        network = FaceNetwork(FaceShape(**shape.model_dump()), self.train.chip_px)
        taught = b"" if teacher_ND is None else teacher_ND.tobytes()
        key = hashlib.sha256(f"{recipe.model_dump_json()}{self._digest}".encode() + taught).hexdigest()[:24]
        path = self.folder / f"{key}.safetensors"
        if path.is_file():
            network.load_state_dict(load_file(path))
            return network
        # A few are enough to see that a run has not collapsed; all would cost a fifth of its time.
        few = self.validation.only(np.arange(min(_WATCHED, len(self.validation))))
        lesson = FaceLesson(network, self.train, few, recipe, teacher_ND=teacher_ND)
        fit(lesson, recipe, checkpoint=path.with_suffix(".checkpoint"), fingerprint=key, report=lambda epoch: None)
        unfinished = path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, unfinished)
        unfinished.replace(path)
        return network


def measure_ablation(bench: Bench, *, seeds: int, on_progress: Progress) -> BenchTable:
    """Every attention with every fusion under ArcFace, then every objective without either."""
    variants: dict[tuple[str, str, str], tuple[FaceNetworkParams, ObjectiveParams]] = {}
    for attention, fusion in product(ATTENTIONS, FUSIONS):
        variants[attention, fusion, "arcface"] = (_shape(attention, fusion), OBJECTIVES["arcface"])
    for name, objective in OBJECTIVES.items():
        variants["none", "none", name] = (_shape("none", "none"), objective)
    runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {variant: [] for variant in variants}
    # A whole round of every row before the next seed: whatever is finished is comparable.
    for done, (seed, variant) in enumerate(product(range(seeds), variants)):
        on_progress("ablation", done, seeds * len(variants))
        shape, objective = variants[variant]
        network = bench.trained(shape, _recipe(shape, objective, bench.epochs, seed))
        runs[variant].append(_judge(embed_chips(network, bench.validation), bench.validation))
    outcomes = {variant: np.array(judged) for variant, judged in runs.items()}
    on_progress("ablation", 1, 1)
    rows: list[tuple[Cell, ...]] = [
        (*variant, *_spread(outcome_S2[:, 0]), *_spread(outcome_S2[:, 1])) for variant, outcome_S2 in outcomes.items()
    ]
    return BenchTable(
        name="ablation",
        title="ablation: attention, fusion and objective on one budget",
        protocol=(
            f"IR-18 of width {WIDTH} at {CHIP_PX} px, {bench.epochs} epochs; {bench.who}; attention after "
            f"{' and '.join(ATTENTION_STAGES)}; {seeds} seeds, mean and standard deviation. A small budget: it ranks "
            "parts that help early, not what they come to in full training."
        ),
        columns=("attention", "fusion", "objective", "EER", "sd", f"TAR@{ABLATION_FAR}", "sd"),
        rows=tuple(rows),
        bars=(Bar("seeds of every row", seeds, ">= 3", seeds >= 3),),
        remarks=tuple(compare_parts({variant: outcome_S2[:, 0] for variant, outcome_S2 in outcomes.items()})),
    )


def measure_compatible(bench: Bench, *, seeds: int, on_progress: Progress) -> BenchTable:
    """An old network, a new one trained to be compared with it, and a new one that was not."""
    epochs = COMPATIBLE_EPOCHS * bench.epochs
    old_shape, new_shape = _shape("none", "none"), _shape("none", "concat")
    plain, bound = OBJECTIVES["arcface"], _objective("arcface", compatible=2.0)
    olds = []
    for seed in range(max(seeds, 2)):
        on_progress("compatible", seed, 2 * seeds)
        olds.append(bench.trained(old_shape, _recipe(old_shape, plain, epochs, seed)))
    rows: list[tuple[Cell, ...]] = []
    for seed in range(seeds):
        on_progress("compatible", seeds + seed, 2 * seeds)
        teacher_ND = embed_chips(olds[seed], bench.train)
        new = bench.trained(new_shape, _recipe(new_shape, bound, epochs, seed + 100), teacher_ND)
        networks = (olds[seed], new, olds[(seed + 1) % len(olds)])
        old_ND, new_ND, apart_ND = (embed_chips(network, bench.validation) for network in networks)
        comparisons = ((old_ND, old_ND), (new_ND, new_ND), (new_ND, old_ND), (apart_ND, old_ND))
        rows.append((str(seed), *(_accepted(one, other, bench.validation.classes) for one, other in comparisons)))
    on_progress("compatible", 1, 1)
    means = [float(np.mean([float(row[column]) for row in rows])) for column in range(1, 5)]
    gap, untrained = means[0] - means[2], means[3]
    return BenchTable(
        name="compatible",
        title="compatible training: new probes against templates of an old network",
        protocol=(
            f"Old: IR-18 of width {WIDTH}; new: the same with its levels concatenated; untrained: the old network of "
            f"another seed; {epochs} epochs each; {bench.who}; TAR at FAR {COMPATIBLE_FAR}, the threshold of each "
            "comparison its own."
        ),
        columns=("seed", "old, own", "new, own", "new against old", "untrained against old"),
        rows=(*rows, ("mean", *means)),
        bars=(
            Bar("old's own minus new against old", gap, f"<= {COMPATIBLE_POINTS}", gap <= COMPATIBLE_POINTS),
            Bar("untrained against old", untrained, f"< {UNTRAINED}", untrained < UNTRAINED),
        ),
    )


def compare_parts(errors: Mapping[tuple[str, str, str], NDArray[np.float64]]) -> list[str]:
    """What each part changes, in words; every difference is one of the same seeds.

    Args:
        errors: Equal error rates by seed, of each (attention, fusion, objective).
    """

    def averaged(attention: str) -> NDArray[np.float64]:
        return np.asarray(np.mean([errors[attention, fusion, "arcface"] for fusion in FUSIONS], axis=0))

    bare, softmax = errors["none", "none", "arcface"], errors["none", "none", "softmax"]
    changes = {f"attention {part} (mean over fusions)": averaged(part) - averaged("none") for part in ATTENTIONS[1:]}
    changes |= {f"fusion {part} (no attention)": errors["none", part, "arcface"] - bare for part in FUSIONS}
    changes |= {
        f"objective {part}, against softmax": errors["none", "none", part] - softmax
        for part in OBJECTIVES
        if part != "softmax"
    }
    lines = []
    for name, change_S in changes.items():
        mean, error = float(np.mean(change_S)), _spread(change_S)[1] / math.sqrt(len(change_S))
        verdict = "helps" if mean < -2 * error else "hurts" if mean > 2 * error else "no difference told apart"
        lines.append(f"{name}: EER {mean:+.4f}, standard error {error:.4f} over seeds: {verdict}")
    return lines


def _shape(attention: str, fusion: str) -> FaceNetworkParams:
    return FaceNetworkParams.model_validate(
        {
            "depth": 18,
            "width": WIDTH,
            "embedding": EMBEDDING,
            "attention": dict.fromkeys(ATTENTION_STAGES, attention),
            "fusion": fusion,
            "eight_bit": False,
            "dropout": 0.0,
        }
    )


def _recipe(network: FaceNetworkParams, objective: ObjectiveParams, epochs: int, seed: int) -> TrainFaceParams:
    off = dict.fromkeys(FaceAugmentationParams.model_fields, 0.0)
    mild = {"flip_probability": 0.5, "turn_degrees": 5, "zoom": 0.05, "shift": 0.03, "light": 0.2}
    return TrainFaceParams(
        seed=seed,
        threads=1,
        precision="float32",
        epochs=epochs,
        batch_size=128,
        learning_rate=0.004,
        warmup_epochs=0.5,
        weight_decay=0.01,
        clip_norm=5.0,
        patience=epochs,
        sampling="subjects",
        pictures_each=4,
        least_spread=0.001,
        network=network,
        objective=objective,
        augmentation=FaceAugmentationParams.model_validate(off | mild),
        adversarial=None,
    )


def _shrink(faces: FaceChips) -> FaceChips:
    """The same faces, chip and margin, at the small side every run here sees."""
    side_px = CHIP_PX + 2 * round(MARGIN_SHARE * CHIP_PX)
    pixels_N3SS = torch.from_numpy(faces.rows(np.arange(len(faces)))).permute(0, 3, 1, 2).float()
    small_N3SS = functional.interpolate(pixels_N3SS, size=side_px, mode="area").round().byte()
    pixels = small_N3SS.permute(0, 2, 3, 1).contiguous().numpy()
    return FaceChips(faces.records, [pixels], CHIP_PX, faces.classes, faces.subjects)


def _judge(embeddings_ND: NDArray[np.float32], faces: FaceChips) -> tuple[float, float]:
    similarity_P, same_P = pair_up(embeddings_ND, faces.classes)
    wide_P = similarity_P.astype(np.float64)
    return trace_errors(wide_P, same_P).equal_error_rate, accept_at(wide_P, same_P, ABLATION_FAR)


def _accepted(probe_ND: NDArray[np.float32], gallery_ND: NDArray[np.float32], class_N: NDArray[np.int64]) -> float:
    """TAR of probes of one network against templates of another, over pairs of different pictures."""
    unit_probe_ND, unit_gallery_ND = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (probe_ND, gallery_ND))
    apart_NN = ~np.eye(len(class_N), dtype=bool)
    similarity_P = (unit_probe_ND @ unit_gallery_ND.T)[apart_NN].astype(np.float64)
    return accept_at(similarity_P, (class_N[:, None] == class_N)[apart_NN], COMPATIBLE_FAR)


def _spread(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
