"""What the `action` service answers to a TracksResponse: what each track does, from when to when."""

from pydantic import Field, model_validator

from services.contracts.clip import ModelRef
from services.contracts.message import Message, Seconds, Unit
from services.contracts.tracks import TracksResponse


class Action(Message):
    """What is done, and the calibrated probability that it is that."""

    name: str
    probability: Unit


class ActionSegment(Message):
    """One track does one action over the half-open interval [start_seconds, end_seconds)."""

    track_id: str
    action: Action
    start_seconds: Seconds
    end_seconds: Seconds = Field(description="Not included.")

    @model_validator(mode="after")
    def _ends_after_start(self) -> "ActionSegment":
        if self.end_seconds <= self.start_seconds:
            raise ValueError(f"segment ends at {self.end_seconds} s, before it starts at {self.start_seconds} s")
        return self


def _are_none(segments: object) -> bool:
    return not segments


class ActionResponse(Message):
    """All segments of all tracks, by track and time."""

    tracks: TracksResponse
    segments: tuple[ActionSegment, ...]
    behaviours: tuple[ActionSegment, ...] = Field(
        (), exclude_if=_are_none, description="What actions add up to; may overlap them. Left out when there are none."
    )
    models: tuple[ModelRef, ...]
