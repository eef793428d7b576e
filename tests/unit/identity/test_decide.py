import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.card import IdentificationCalibration
from services.contracts.identity import GalleryRef
from services.gallery.snapshot import Snapshot
from services.identity.decide import FaceObservation, decide_identities, decide_identity

CALIBRATION = IdentificationCalibration(
    space="s", threshold=0.8, ambiguity_margin=0.05, fpir=0.01, fnir=0.1, gallery_size=3, protocol="p", data="d"
)


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def gallery(**subjects: np.ndarray) -> Snapshot:
    reference = GalleryRef(sha256="0" * 64, embedding_space="s", subjects=len(subjects))
    vectors = np.stack(list(subjects.values())) if subjects else np.empty((0, 0), np.float32)
    return Snapshot(reference, tuple(subjects), vectors)


ENROLLED = gallery(ada=unit(1, 0, 0), bo=unit(0, 1, 0))


def test_a_face_near_one_subject_matches_it_and_names_the_runner_up() -> None:
    identity = decide_identity([FaceObservation(unit(1, 0.1, 0), 0.9)], ENROLLED, CALIBRATION)
    assert (identity.decision, identity.subject_id) == ("match", "ada")
    assert identity.similarity == pytest.approx(0.995, abs=1e-3)
    assert identity.runner_up is not None
    assert identity.runner_up.subject_id == "bo"
    assert identity.threshold == 0.8


def test_a_stranger_stays_unknown() -> None:
    identity = decide_identity([FaceObservation(unit(0.2, 0.2, 1), 0.9)], ENROLLED, CALIBRATION)
    assert (identity.decision, identity.subject_id) == ("unknown", None)


def test_everyone_is_unknown_to_an_empty_gallery() -> None:
    assert decide_identity([FaceObservation(unit(1, 0), 0.9)], gallery(), CALIBRATION).decision == "unknown"


@pytest.mark.parametrize(
    ("faces", "reason"),
    [([], "no face seen"), ([FaceObservation(unit(1, 0, 0), 0.05)], "every face below quality")],
)
def test_without_a_usable_face_it_abstains_and_says_why(faces: list[FaceObservation], reason: str) -> None:
    identity = decide_identity(faces, ENROLLED, CALIBRATION)
    assert identity.decision == "abstained"
    assert reason in str(identity.reason)


def test_two_subjects_too_close_to_tell_apart() -> None:
    twins = gallery(ada=unit(1, 0.02, 0), twin=unit(1, -0.02, 0))
    identity = decide_identity([FaceObservation(unit(1, 0, 0), 0.9)], twins, CALIBRATION)
    assert identity.decision == "abstained"
    assert "too close" in str(identity.reason)


def test_a_track_that_holds_two_people_names_neither() -> None:
    faces = [FaceObservation(unit(1, 0.5, 0), 0.9)] * 3 + [FaceObservation(unit(0.3, 1, 0), 0.9)] * 2
    identity = decide_identity(faces, ENROLLED, CALIBRATION)
    assert identity.decision == "abstained"


def test_good_faces_outweigh_poor_ones() -> None:
    good, poor = FaceObservation(unit(1, 0, 0), 0.95), FaceObservation(unit(0.7, 0, 0.7), 0.25)
    pooled = decide_identity([good, poor], ENROLLED, CALIBRATION)
    assert pooled.similarity is not None
    assert pooled.similarity > 0.95


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1)), max_size=6))
@settings(deadline=None)  # a busy machine is no fault of the code
def test_only_a_similarity_at_the_threshold_ever_names(rows: list[tuple[float, float, float]]) -> None:
    faces = [FaceObservation(unit(x, y, 0.5), quality) for x, y, quality in rows]
    identity = decide_identity(faces, ENROLLED, CALIBRATION)
    if identity.subject_id is not None:
        assert identity.similarity is not None
        assert identity.similarity >= CALIBRATION.threshold


def test_many_tracks_at_once_are_decided_as_each_by_itself() -> None:
    one, two = FaceObservation(unit(1, 0.1, 0), 0.9), FaceObservation(unit(0.1, 1, 0.2), 0.4)
    tracks = [[one], [], [one, two], [FaceObservation(unit(0, 0, 1), 0.9)] * 40, [FaceObservation(unit(1, 0, 0), 0.01)]]
    together = decide_identities(tracks, ENROLLED, CALIBRATION)
    assert together == [decide_identity(faces, ENROLLED, CALIBRATION) for faces in tracks]
    assert len({identity.decision for identity in together}) == 3
