"""A small embedder taught by a large one: `python -m training.distillation --help`.

Faces come from `python -m training.datasets.faces align --chip-of TEACHER`. Views of them are kept beside the
checkpoint, and a run that was stopped goes on where it was. The outcome is calibrated, measured and registered.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from services.contracts.card import EmbeddingSpec, Lineage, ModelCard
from services.contracts.errors import BadInput
from services.identity.embed import FaceEmbedder
from services.models.engine import load_network
from services.models.store import CARD_FILE, StoredModel
from training.config import FitParams
from training.datasets.face_checks import check_faces
from training.datasets.face_chips import FaceChips, load_chips
from training.datasets.face_views import StudentChip, TaughtViews, Teacher, prepare_views, view_as_they_are
from training.export import check_parity, describe_weights, export_embedder
from training.fit import Epoch, fit
from training.lessons.distillation import DistillationLesson
from training.metrics.identification import calibrate_embedder, list_pictures
from training.metrics.models import find_model
from training.metrics.verification import Pairs, read_pairs, verify
from training.networks.compact import EMBEDDING, CompactNetwork
from training.precision import quantise
from training.runs import DataInput, Run, register_version, start_run

# Five times the teacher's throughput in 8 bits, by the arithmetic; of 150 px the middle 120 leave the face's scale at
# three quarters of the teacher's, where its weights still mean something (on LFW's development pairs 0.83 of pairs
# right before any training, 0.72 with all of it at half the side).
STUDENT = StudentChip(size_px=92, seen_px=120)
ALIAS = "candidate"
_PARITY_LIMIT = 1e-3
_SEED = 7
_VALIDATION_SHARE = 0.1
_CALIBRATION_VIEWS = 512


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw views, teach, export, calibrate, measure, register."""
    options = _parser().parse_args(arguments)
    teacher = find_model(options.teacher, "face_embedding")
    pairs = read_pairs(options.pairs)
    sides = split_faces(load_chips(options.faces), named_in(pairs))
    findings = check_faces(sides)
    if findings:
        raise BadInput(f"these faces are refused: {'; '.join(finding.reason for finding in findings)}")
    recipe = _recipe(options)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    ask = _teacher(teacher)
    views = prepare_views(
        sides["train"],
        ask,
        options.out / "views",
        count=options.views,
        chip=STUDENT,
        seed=_SEED,
        teacher_id=teacher.card.weights.sha256,
    )
    student = CompactNetwork()
    student.begin_as(onnx.load(teacher.weights_path), views.embeddings.mean(0))
    began = teacher.card.weights.sha256
    if options.begin is not None:
        student.load_state_dict(load_file(options.begin))
        began = hashlib.sha256(options.begin.read_bytes()).hexdigest()
    lesson = DistillationLesson(student, views, view_as_they_are(sides["validation"], ask, STUDENT))

    params = {**recipe.model_dump(), "views": options.views, "began": began}
    made_from = {"params": params, "views": json.loads((options.out / "views" / "views.json").read_text())}
    fingerprint = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    inputs = [DataInput("views", options.out / "views" / "views.json", "train")]
    inputs.append(DataInput("pairs", options.pairs, "test"))
    with start_run("distillation", params, inputs) as tracked:

        def report(epoch: Epoch) -> None:
            tracked.log_metrics(epoch.values(), step=epoch.epoch)
            sys.stderr.write(
                f"epoch {epoch.epoch + 1}/{recipe.epochs}: loss {epoch.train_loss:.4f}, "
                f"cosine with the teacher {epoch.measures['teacher_cosine']:.4f}\n"
            )

        checkpoint = options.out / "checkpoint.safetensors"
        fit(lesson, recipe, checkpoint=checkpoint, fingerprint=fingerprint, report=report)
        weights = {name: value.contiguous() for name, value in student.state_dict().items()}
        save_file(weights, options.out / "student.safetensors")
        model = export_student(student, teacher.card, views, _lineage(tracked, teacher, began, sides), options)
        model = measure_student(model, pairs, options, unseen_by=sides)
        tracked.log_metrics({f"export.{name}": value for name, value in model.card.metrics.items()})
        source = tracked.log_folder(model.weights_path.parent, "model")
        card = model.card
        tags = {"sha256": card.weights.sha256, "card_version": card.version, "task": card.task}
        version = register_version(tracked, card.name, source, alias=ALIAS, tags=tags)
    sys.stdout.write(f"{card.name} version {version}, {ALIAS}: {model.weights_path.parent}\n")
    sys.stdout.writelines(f"  {name}: {value:.4f}\n" for name, value in card.metrics.items())


def named_in(pairs: Pairs) -> frozenset[str]:
    """Who is on the pictures of some pairs: the pictures' folders."""
    return frozenset(Path(str(path)).parent.name for path in pairs.paths.ravel())


def split_faces(faces: FaceChips, kept_apart: Collection[str]) -> dict[str, FaceChips]:
    """Two sides that share no subject, without the people who are kept apart.

    Raises:
        BadInput: Fewer than two subjects are left.
    """
    subject_N = np.array([record.subject_id for record in faces.records])
    apart_N = np.array([Path(record.picture).parent.name in kept_apart for record in faces.records])
    subjects = np.unique(subject_N[~apart_N])
    if len(subjects) < 2:
        raise BadInput(
            f"{len(subjects)} subject(s) are left of {len(faces.subjects)}: too few to learn and to validate"
        )
    shuffled = np.random.default_rng(_SEED).permutation(subjects)
    validating = shuffled[: max(1, round(_VALIDATION_SHARE * len(subjects)))]
    inside_N = np.isin(subject_N, validating)
    return {
        "train": faces.only(np.flatnonzero(~apart_N & ~inside_N)),
        "validation": faces.only(np.flatnonzero(~apart_N & inside_N)),
    }


def export_student(
    student: CompactNetwork, teacher: ModelCard, views: TaughtViews, lineage: Lineage, options: argparse.Namespace
) -> StoredModel:
    """Write the network, its arithmetic in 8 bits, and a card that lacks a threshold yet.

    Raises:
        EnginesDisagree: In 32 bits an engine answers something else than the trained network.
    """
    pixels_N1SS = views.pixels[:: max(1, len(views) // _CALIBRATION_VIEWS)][:_CALIBRATION_VIEWS]
    batches = [part.float().expand(-1, 3, -1, -1).contiguous() for part in torch.split(pixels_N1SS, 32)]
    with torch.inference_mode():
        wanted_ND = torch.cat([student(batch) for batch in batches]).numpy()
    exact = export_embedder(student, STUDENT.size_px)
    content = quantise(exact, [batch.numpy() for batch in batches])
    assert teacher.chip is not None  # the card's validator
    teacher_chip, share = teacher.chip, STUDENT.seen_px / teacher.chip.size_px
    margin = (1 - share) / 2
    template = tuple(((x - margin) / share, (y - margin) / share) for x, y in teacher_chip.template)

    def describe(onnx_file: bytes) -> ModelCard:
        weights = describe_weights(onnx_file)
        return ModelCard(
            name=options.name,
            version=weights.sha256[:12],
            task="face_embedding",
            description=(
                f"Faces to {EMBEDDING} numbers, not unit length, from luminance alone. The layout of {teacher.name}, "
                f"begun with its weights and taught by it on chips of {STUDENT.size_px} px that show the middle "
                f"{STUDENT.seen_px} of its {teacher_chip.size_px}; the mean embedding is taken "
                "away. Arithmetic in 8 bits."
            ),
            weights=weights,
            licence=options.licence,
            lineage=lineage,
            chip=teacher_chip.model_copy(update={"size_px": STUDENT.size_px, "template": template}),
            embedding=EmbeddingSpec(space=f"{options.name}-{weights.sha256[:12]}", dimension=EMBEDDING),
        )

    def answers(onnx_file: bytes, engine: str) -> NDArray[np.float32]:
        card = describe(onnx_file)
        (options.out / card.weights.file).write_bytes(onnx_file)
        # One thread: several add up in any order, and 8 bits make another answer of the last digit.
        network = load_network(card, options.out / card.weights.file, device=engine, threads=1)
        return np.concatenate([network.run(batch.numpy())["embeddings"] for batch in batches])

    engines = ("cpu", "onnxruntime-cpu")
    parity = check_parity(wanted_ND, [(engine, answers(exact, engine)) for engine in engines], _PARITY_LIMIT)
    metrics = {"float32_engines_differ_by": max(parity.values())}
    for engine in engines:
        cosines_N = _cosines(answers(content, engine), wanted_ND)
        metrics[f"cosine_with_float32.{engine}.mean"] = float(cosines_N.mean())
        metrics[f"cosine_with_float32.{engine}.least"] = float(cosines_N.min())
    card = describe(content)
    folder = options.out / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (options.out / card.weights.file).replace(folder / card.weights.file)
    return StoredModel(card.model_copy(update={"metrics": metrics}), folder / card.weights.file)


def _cosines(one_ND: NDArray[np.float32], other_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    norms_N = np.linalg.norm(one_ND, axis=1) * np.linalg.norm(other_ND, axis=1)
    cosines_N: NDArray[np.float32] = np.einsum("nd,nd->n", one_ND, other_ND) / norms_N
    return cosines_N


def measure_student(
    model: StoredModel, pairs: Pairs, options: argparse.Namespace, *, unseen_by: dict[str, FaceChips]
) -> StoredModel:
    """Calibrate as the fetched networks were, verify the pairs, and write the card with both."""
    card, weights_path = model
    embedder = FaceEmbedder(card, load_network(card, weights_path))
    met = {Path(record.picture).parent.name for faces in unseen_by.values() for record in faces.records}
    pictures = list_pictures(options.cohort)
    counts = Counter(path.parent.name for path in pictures)
    calibration = calibrate_embedder(
        embedder,
        [path for path in pictures if path.parent.name not in met and counts[path.parent.name] >= 3],
        gallery_size=10,
        templates=3,
        probe_pictures=3,
        fpir=0.01,
        galleries=100,
        seed=1,
        data=f"{options.cohort.name}, people never learned from with three pictures or more ({options.terms})",
    )
    answer = verify(embedder, pairs, options.root)
    low, high = answer["accuracy_ci95"]
    metrics = {
        **card.metrics,
        "verification_accuracy": answer["accuracy"],
        "verification_accuracy_low": low,
        "verification_accuracy_high": high,
        **{f"tar_at_far_{far}": value for far, value in answer["tar_at_far"].items()},
        "pictures_undetected": answer["pictures_undetected"],
    }
    finished = card.model_copy(update={"identification": calibration, "metrics": metrics})
    weights_path.with_name(CARD_FILE).write_text(finished.model_dump_json(indent=2) + "\n")
    return StoredModel(finished, weights_path)


def _recipe(options: argparse.Namespace) -> FitParams:
    return FitParams(
        seed=_SEED,
        threads=options.threads,
        precision="float32",
        epochs=options.epochs,
        batch_size=64,
        learning_rate=options.learning_rate,
        warmup_epochs=0.05,
        weight_decay=1e-4,
        clip_norm=1.0,
        average_decay=0.995,
        patience=options.epochs,
    )


def _teacher(model: StoredModel) -> Teacher:
    network = load_network(model.card, model.weights_path)

    def ask(chips_N3SS: NDArray[np.float32]) -> NDArray[np.float32]:
        embeddings_ND: NDArray[np.float32] = network.run(chips_N3SS)["embeddings"]
        return embeddings_ND

    return ask


def _lineage(tracked: Run, teacher: StoredModel, began: str, sides: dict[str, FaceChips]) -> Lineage:
    learned = sides["train"]
    sources = ", ".join(sorted({f"{record.source} ({record.licence})" for record in learned.records}))
    began_with = "its weights" if began == teacher.card.weights.sha256 else f"weights of an earlier run, sha256 {began}"
    return Lineage(
        source=(
            f"python -m training.distillation; teacher {teacher.card.name}, sha256 {teacher.card.weights.sha256}, "
            f"begun with {began_with}; views of {len(learned)} faces of {len(learned.subjects)} people: {sources}"
        ),
        git_commit=tracked.origin.git_commit,
        data_md5=tracked.origin.data_md5,
        run_id=tracked.run_id,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.distillation", description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, help="aligned faces, cut for the teacher")
    parser.add_argument("--pairs", type=Path, required=True, help="CSV to measure on; nobody in it is learned from")
    parser.add_argument("--root", type=Path, required=True, help="folder the pairs' paths are relative to")
    parser.add_argument("--cohort", type=Path, required=True, help="a folder of pictures a person, to calibrate on")
    parser.add_argument("--terms", required=True, help="of the cohort's pictures, for the card")
    parser.add_argument("--out", type=Path, required=True, help="folder for views, checkpoint and model")
    parser.add_argument("--teacher", default="dlib-face-resnet", help="installed embedder (default: %(default)s)")
    parser.add_argument(
        "--begin", type=Path, help="student.safetensors of an earlier run, instead of the teacher's weights"
    )
    parser.add_argument("--name", default="face-compact", help="of the model (default: %(default)s)")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights (default: %(default)s)")
    parser.add_argument("--views", type=int, default=60_000, help="to learn from (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    from training.stages.entry import run

    run(main)
