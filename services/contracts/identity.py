"""What the `identity` service answers to a TracksResponse: who each track is, or that it cannot say."""

from typing import Literal

from pydantic import Field, model_validator

from services.contracts.clip import ModelRef
from services.contracts.message import Cosine, Message, Sha256
from services.contracts.tracks import TracksResponse

Decision = Literal["match", "unknown", "abstained"]


class Candidate(Message):
    """A subject and how near its nearest template lies."""

    subject_id: str
    similarity: Cosine


class Identity(Message):
    """The decision for one track. Only a match names anyone."""

    subject_id: str | None
    decision: Decision
    reason: str | None = Field(None, description="Why it abstained.")
    similarity: Cosine | None = Field(None, description="To the nearest subject.")
    runner_up: Candidate | None = None
    threshold: Cosine | None = Field(None, description="Similarity at which a match begins.")

    @model_validator(mode="after")
    def _only_a_match_names(self) -> "Identity":
        if (self.decision == "match") != (self.subject_id is not None):
            raise ValueError(f"decision {self.decision!r} with subject_id {self.subject_id!r}: only a match names")
        if (self.decision == "abstained") != (self.reason is not None):
            raise ValueError(f"decision {self.decision!r} with reason {self.reason!r}: an abstention says why")
        return self


class TrackIdentity(Message):
    """Who a track is."""

    track_id: str
    identity: Identity
    faces_used: int


class Threshold(Message):
    """Where a match began in a gallery of this size, and what that rests on."""

    similarity: Cosine
    fpir: float = Field(description="Strangers named, as a share, that is aimed at.")
    subjects: int = Field(description="Enrolled when it was decided.")
    calibrated_subjects: int = Field(description="Enrolled when it was calibrated.")
    basis: Literal["calibrated", "computed", "extrapolated", "outgrown"] = Field(
        description=(
            "calibrated: for as many or more. computed: for more, from the strangers measured. extrapolated: further "
            "out than any of them lay. outgrown: for fewer, and nobody knows how far it is off."
        )
    )


def _is_none(value: object) -> bool:
    return value is None


class GalleryRef(Message):
    """The exact gallery state that was searched, and the threshold that held for it."""

    sha256: Sha256
    embedding_space: str
    subjects: int
    threshold: Threshold | None = Field(None, exclude_if=_is_none)


class IdentityResponse(Message):
    """One decision for every track."""

    tracks: TracksResponse
    gallery: GalleryRef
    identities: tuple[TrackIdentity, ...]
    models: tuple[ModelRef, ...]
