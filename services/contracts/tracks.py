"""What the `tracks` service is asked and answers: who moved where, and where the evidence lies."""

from pydantic import Field, model_validator

from services.contracts.clip import ClipRef, ModelRef
from services.contracts.message import Message, Seconds, Sha256


class TracksRequest(Message):
    """Analyse `clip` from `from_seconds` up to, not including, `to_seconds` (or its end)."""

    clip: ClipRef
    from_seconds: Seconds = 0.0
    to_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _span_is_forward(self) -> "TracksRequest":
        if self.to_seconds is not None and self.to_seconds <= self.from_seconds:
            raise ValueError(f"to_seconds {self.to_seconds} must be after from_seconds {self.from_seconds}")
        return self


class Video(Message):
    """What was decoded."""

    width_px: int
    height_px: int
    start_seconds: Seconds = Field(description="pts of the first frame read.")
    end_seconds: Seconds = Field(description="End of the last frame read.")
    frames: int
    codec: str


class EvidenceRef(Message):
    """The bundle of chips, strips and boxes that every later step reads."""

    uri: str
    sha256: Sha256


class TrackSummary(Message):
    """One person, followed through the clip. Boxes frame by frame are in the bundle."""

    track_id: str
    start_seconds: Seconds
    end_seconds: Seconds
    boxes: int = Field(description="Frames in which the person was detected.")
    faces: int = Field(description="Face crops kept in the bundle.")


class TracksResponse(Message):
    """Everyone followed through the clip."""

    clip: ClipRef
    video: Video
    evidence: EvidenceRef
    tracks: tuple[TrackSummary, ...]
    models: tuple[ModelRef, ...]
    warnings: tuple[str, ...] = Field((), description="What could not be read, in words for a person.")
