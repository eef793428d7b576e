"""What the `action` service answers to a TracksResponse: what each track does, from when to when."""

from pydantic import Field, model_validator

from services.contracts.clip import ModelRef
from services.contracts.message import Message, Seconds, Unit
from services.contracts.tracks import TracksResponse


class Action(Message):
    """What is done, and the calibrated probability that it is that."""

    name: str
    probability: Unit


class Toward(Message):
    """Whom an action is done to: another track of the same clip. Who that is, its own events and report say."""

    track_id: str
    share: Unit = Field(description="Of the action's time, in which they were the nearest within reach.")


def _is_none(value: object) -> bool:
    return value is None


class ActionSegment(Message):
    """One track does one action over the half-open interval [start_seconds, end_seconds)."""

    track_id: str
    action: Action
    start_seconds: Seconds
    end_seconds: Seconds = Field(description="Not included.")
    toward: Toward | None = Field(
        None, exclude_if=_is_none, description="Of actions done to somebody; left out where nobody surely is meant."
    )

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
