from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.contracts.card import (
    EmbeddingSpec,
    FaceChipSpec,
    IdentificationCalibration,
    Lineage,
    ModelCard,
    Weights,
)
from services.contracts.errors import BadInput, MissingModel
from services.gallery.store import Gallery
from services.gallery.template import Embedding, Template
from services.identity.embed import FaceEmbedder
from services.identity.identify import identify_tracks
from tests.unit.bundles import LANDMARKS_SHARE, write_bundle

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)
CARD = ModelCard(
    name="colours",
    version="1",
    task="face_embedding",
    description="The mean colour of a chip.",
    weights=Weights(file="none.onnx", sha256="0" * 64, size_bytes=1, format="onnx"),
    licence="Apache-2.0",
    lineage=Lineage(source="test"),
    chip=FaceChipSpec(
        size_px=32,
        template=tuple((float(x), float(y)) for x, y in LANDMARKS_SHARE),
        channels="RGB",
        mean=(0, 0, 0),
        scale=1,
    ),
    embedding=EmbeddingSpec(space="colour", dimension=3),
    identification=IdentificationCalibration(
        space="colour",
        threshold=0.9,
        ambiguity_margin=0.02,
        fpir=0.01,
        fnir=0.1,
        gallery_size=2,
        protocol="p",
        data="d",
    ),
)


class MeanColour:
    def run(self, inputs: Any) -> dict[str, Any]:
        return {"embeddings": inputs.mean(axis=(2, 3))}


EMBEDDER = FaceEmbedder(CARD, MeanColour())


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery(tmp_path / "gallery.db")
    for name, colour in (("ada", RED), ("bo", GREEN)):
        vector = np.array(colour, np.float32) / np.linalg.norm(colour)
        embedding = Embedding(vector.astype(np.float32), "colour")
        gallery.enrol([Template(name, embedding, 0.9, b"", np.zeros((5, 2), np.float32), "0" * 64)])
    return gallery


def said(tmp_path: Path, gallery: Gallery, *people: Any) -> list[tuple[str, str | None]]:
    response = identify_tracks(write_bundle(tmp_path, people), EMBEDDER, gallery)
    return [(answer.identity.decision, answer.identity.subject_id) for answer in response.identities]


def test_each_track_is_named_left_unknown_or_abstained(tmp_path: Path, gallery: Gallery) -> None:
    people = (RED, 0.0, 3.0), (BLUE, 0.0, 3.0), (None, 0.0, 3.0)
    assert said(tmp_path, gallery, *people) == [("match", "ada"), ("unknown", None), ("abstained", None)]


def test_nobody_is_in_two_places_at_once(tmp_path: Path, gallery: Gallery) -> None:
    """The surer of two simultaneous tracks keeps the name; who merely comes back is named again."""
    nearly_red = (200, 45, 20)
    assert said(tmp_path, gallery, (nearly_red, 0.0, 5.0), (RED, 2.0, 6.0), (RED, 7.0, 9.0)) == [
        ("abstained", None),
        ("match", "ada"),
        ("match", "ada"),
    ]


def test_a_handover_between_two_tracks_of_one_person_keeps_the_name(tmp_path: Path, gallery: Gallery) -> None:
    assert said(tmp_path, gallery, (RED, 0.0, 3.0), (RED, 2.8, 6.0)) == [("match", "ada")] * 2


def test_an_enrolment_counts_from_the_next_clip_on(tmp_path: Path, gallery: Gallery) -> None:
    tracks = write_bundle(tmp_path, [(RED, 0.0, 2.0)])
    before = identify_tracks(tracks, EMBEDDER, gallery)
    gallery.remove("ada")
    after = identify_tracks(tracks, EMBEDDER, gallery)
    assert (before.gallery.subjects, after.gallery.subjects) == (2, 1)
    assert after.identities[0].identity.decision == "unknown"


def test_evidence_that_changed_on_the_way_is_refused(tmp_path: Path, gallery: Gallery) -> None:
    tracks = write_bundle(tmp_path, [(RED, 0.0, 2.0)])
    path = Path(tracks.evidence.uri.removeprefix("file://"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BadInput, match="sha256"):
        identify_tracks(tracks, EMBEDDER, gallery)


def test_an_embedder_without_calibration_names_nobody(tmp_path: Path, gallery: Gallery) -> None:
    uncalibrated = FaceEmbedder(CARD.model_copy(update={"identification": None}), MeanColour())
    with pytest.raises(MissingModel, match="no calibrated threshold"):
        identify_tracks(write_bundle(tmp_path, [(RED, 0.0, 2.0)]), uncalibrated, gallery)
