"""Single pictures to face embeddings, as a deployment would make them: detect, align, embed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.console import ProgressBars
from services.contracts.errors import BadInput
from services.identity.embed import FaceEmbedder
from services.models.engine import load_network
from services.perception.align import AlignmentFailed
from services.perception.detect import FaceDetector
from services.perception.frame import Picture
from services.settings import read_settings
from training.metrics.models import find_model

# Pictures are shrunk to it before the detector looks, as at enrolment.
_DETECTION_SIDE_PX = 960
_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFaces:
    """One face of each of P pictures.

    Attributes:
        vectors: (P, D) float32, unit norm; zeros where no face was found.
        found: (P,) bool.
    """

    vectors: NDArray[np.float32]
    found: NDArray[np.bool_]


def open_embedder(reference: str) -> FaceEmbedder:
    """The embedder a command line names; see `find_model`."""
    card, weights_path = find_model(reference, "face_embedding")
    return FaceEmbedder(card, load_network(card, weights_path, device=read_settings().device))


def embed_pictures(embedder: FaceEmbedder, paths: Sequence[Path]) -> EmbeddedFaces:
    """Find the face nearest the centre of each picture and embed it, with a progress bar on stderr.

    Raises:
        BadInput: A picture is absent or cannot be read.
    """
    card, weights_path = find_model("champion", "face_detection")
    detector = FaceDetector(load_network(card, weights_path, device=read_settings().device), card)
    assert embedder.card.embedding is not None  # the card's validator
    vectors = np.zeros((len(paths), embedder.card.embedding.dimension), np.float32)
    found = np.zeros(len(paths), bool)
    with ProgressBars(unit="pictures") as bars:
        for start in range(0, len(paths), _BATCH):
            bars.advance_to("embedding", start, len(paths))
            rows, faces = [], []
            for row, path in enumerate(paths[start : start + _BATCH], start):
                picture = _read_picture(path)
                landmarks_px = _central_face(detector, picture)
                if landmarks_px is not None:
                    rows.append(row)
                    faces.append((picture, landmarks_px))
            try:
                vectors[rows] = embedder.embed(faces)
            except AlignmentFailed as fault:
                raise BadInput(f"one of {paths[start]} and the {_BATCH - 1} pictures after it: {fault}") from fault
            found[rows] = True
        bars.advance_to("embedding", len(paths), len(paths))
    return EmbeddedFaces(vectors, found)


def _read_picture(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise BadInput(f"cannot read picture {path}: {error}") from error


def _central_face(detector: FaceDetector, picture: Picture) -> NDArray[np.float32] | None:
    """Landmarks (5, 2) of the face whose middle is nearest the picture's; None when there is no face."""
    faces = detector.detect(picture, _DETECTION_SIDE_PX)
    if not faces:
        return None
    centre_px = np.array(picture.shape[1::-1]) / 2
    nearest = min(faces, key=lambda face: float(np.linalg.norm(face.box_px.reshape(2, 2).mean(axis=0) - centre_px)))
    return nearest.landmarks_px
