"""Manifest: one JSON line for every labelled span of a clip, whatever set it comes from."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.contracts.errors import BadInput

Share = Annotated[float, Field(description="Of the picture's width or height.")]


class PersonBox(BaseModel):
    """Where the person is at one instant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(ge=0)
    box: tuple[Share, Share, Share, Share] = Field(description="Left, top, right, bottom; 0 to 1.")


class LabelledSpan(BaseModel):
    """Somebody, or everybody in the picture, does something from one time to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str = Field(min_length=1, description="Path of the file, relative to the manifest's folder.")
    actions: tuple[str, ...] = Field(min_length=1, description="Several where they overlap.")
    group: str = Field(min_length=1, description="Actor or scene: spans of one group are not independent.")
    start_seconds: float = Field(0.0, ge=0)
    end_seconds: float | None = Field(None, description="Not included; None is the end of the clip.")
    subject_id: str | None = None
    boxes: tuple[PersonBox, ...] = Field((), description="The person's track, where the set gives one.")
    source: str = Field(min_length=1, description="Which set.")
    licence: str = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "LabelledSpan":
        if self.end_seconds is not None and self.end_seconds <= self.start_seconds:
            raise ValueError(f"from {self.start_seconds} s to {self.end_seconds} s: must end after it starts")
        return self


def write_manifest(path: Path, spans: Iterable[LabelledSpan]) -> None:
    """One line a span, in their order; the same spans give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(span.model_dump_json() + "\n" for span in spans))


def read_manifest(path: Path) -> list[LabelledSpan]:
    """Read what `write_manifest` wrote.

    Raises:
        BadInput: It is absent or empty, or lines are malformed: names up to ten of them.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    spans, faults = [], []
    for number, line in enumerate(lines, start=1):
        try:
            spans.append(LabelledSpan.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            faults.append(f"line {number}: {'.'.join(map(str, first['loc']))} {first['msg']}")
    if faults or not spans:
        raise BadInput(f"{path}: {describe(faults) if faults else 'no spans'}")
    return spans


def describe(faults: Sequence[str], shown: int = 10) -> str:
    """The first faults and how many more there are."""
    rest = f"; and {len(faults) - shown} more" if len(faults) > shown else ""
    return "; ".join(faults[:shown]) + rest


def read_json(path: Path) -> object:
    """A JSON file of somebody else's.

    Raises:
        BadInput: It is absent or not JSON.
    """
    try:
        content: object = json.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
    return content
