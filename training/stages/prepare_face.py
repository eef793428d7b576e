"""Stage prepare_face: faces found, aligned, checked and split by subject."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from services.contracts.card import FaceChipSpec
from services.contracts.errors import BadInput
from services.identity.embed import FaceEmbedder
from services.models.engine import load_network
from services.perception.align import fit_similarity
from services.perception.detect import FaceDetector
from services.settings import read_settings
from training.config import PrepareFaceParams, read_config
from training.datasets.face_checks import check_faces
from training.datasets.face_chips import FaceChips, canvas_spec, load_chips, prepare_chips
from training.datasets.face_manifest import FaceRecord
from training.metrics.models import find_model
from training.scenes.still import render_still
from training.scenes.subject import sample_subject
from training.stages.entry import run

RESULTS = Path("build/prepare_face")
SIDES = ("train", "validation", "heldout")
# Rendered clips draw their people from other seeds.
_FIRST_SEED = 20_000
_ROWS_NAMED = 5
# A face fills a third of it: more than any chip of sample size needs.
_STILL_PX = 256


def main() -> None:
    """Leave aligned faces of three sets of subjects in `build/prepare_face`."""
    config = read_config()
    params = config.prepare_face
    RESULTS.mkdir(parents=True, exist_ok=True)
    folders: dict[str, str] = {str(side): folder for side, folder in params.folders.items()} or _render(params)
    sides = {side: load_chips(Path(folders[side])) for side in SIDES}
    triplets = config.train_face.objective.triplet is not None
    findings = check_faces(sides, pictures_needed=2 if triplets else 1)
    if findings:
        rows = "; ".join(f"{f.reason}: {', '.join(f.rows[:_ROWS_NAMED])}" for f in findings)
        raise BadInput(f"these faces are refused. {rows}")
    (RESULTS / "sides.json").write_text(json.dumps(folders, indent=2) + "\n")
    _ask_teacher(sides["train"], params)
    metrics = {side: {"faces": len(faces), "subjects": len(faces.subjects)} for side, faces in sides.items()}
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def load_sides() -> dict[str, FaceChips]:
    """The faces this stage left, by side."""
    folders: Mapping[str, str] = json.loads((RESULTS / "sides.json").read_text())
    return {side: load_chips(Path(folder)) for side, folder in folders.items()}


def load_teacher() -> np.ndarray[tuple[int, int], np.dtype[np.float32]] | None:
    """The teacher's embedding of every training face, (N, D); None without a teacher."""
    path = RESULTS / "teacher.npy"
    return np.load(path, allow_pickle=False) if path.is_file() else None


def chip_spec(params: PrepareFaceParams) -> FaceChipSpec:
    """How faces are cut here, as a card says it: pixels go in as they are, networks scale them."""
    return FaceChipSpec(
        size_px=params.chip_px, template=params.template, channels="RGB", mean=(0.0, 0.0, 0.0), scale=1.0
    )


def _render(params: PrepareFaceParams) -> dict[str, str]:
    card, weights_path = find_model("champion", "face_detection")
    detector = FaceDetector(load_network(card, weights_path, device=read_settings().device), card)
    seed = _FIRST_SEED + 1000 * params.seed
    folders: dict[str, str] = {}
    for side, count in params.rendered_subjects.items():
        pictures = RESULTS / "pictures" / side
        records = list(_photograph(range(seed, seed + count), params.rendered_pictures, pictures))
        prepare_chips(records, pictures, RESULTS / side, detector, chip_spec(params))
        folders[side] = str(RESULTS / side)
        seed += count
    return folders


def _photograph(seeds: range, pictures: int, folder: Path) -> Iterator[FaceRecord]:
    for seed in seeds:
        subject = sample_subject(seed)
        (folder / subject.subject_id).mkdir(parents=True, exist_ok=True)
        for take in range(pictures):
            name = f"{subject.subject_id}/{take}.jpg"
            render_still(subject, take, side_px=_STILL_PX).save(folder / name, quality=92)
            yield FaceRecord(
                subject_id=subject.subject_id,
                picture=name,
                source="rendered",
                licence="Apache-2.0",
                groups={"glasses": subject.glasses, "beard": subject.beard, "hair": subject.hair},
            )


def _ask_teacher(train: FaceChips, params: PrepareFaceParams) -> None:
    path = RESULTS / "teacher.npy"
    path.unlink(missing_ok=True)
    if params.teacher is None:
        return
    card, weights_path = find_model(params.teacher, "face_embedding")
    embedder = FaceEmbedder(card, load_network(card, weights_path, device=read_settings().device))
    canvas = canvas_spec(chip_spec(params))
    template_px = np.array(canvas.template) * canvas.size_px
    faces = []
    for row, record in enumerate(train.records):
        landmarks_px = np.array(record.landmarks_px, np.float64)
        # Where the landmarks came to lie on the aligned picture: the same similarity that made it.
        moved = fit_similarity(landmarks_px, template_px) @ np.vstack([landmarks_px.T, np.ones(5)])
        faces.append((train.rows(np.array([row]))[0], moved.T.astype(np.float32)))
    np.save(path, embedder.embed(faces))


if __name__ == "__main__":
    run(main)
