"""Reads what training.scenes wrote: which clips, and what is true in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from services.contracts.errors import BadInput, MissingModel
from services.contracts.message import Sha256
from training.datasets.truth import PersonTruth
from training.metrics.events import Happening


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """A clip and everybody in it."""

    path: Path
    sha256: str
    people: tuple[PersonTruth, ...]

    @property
    def happenings(self) -> list[Happening]:
        """What everybody does, person by person."""
        return [happening for person in self.people for happening in person.happenings]


class _Record(BaseModel):
    # Faces, seeds and places are for other readers of the manifest.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Action(_Record):
    name: str
    start_seconds: float
    end_seconds: float


class _Person(_Record):
    subject_id: str
    actions: tuple[_Action, ...]
    boxes_px: tuple[tuple[float, float, float, float] | None, ...]


class _Clip(_Record):
    file: str
    sha256: Sha256
    fps: float
    people: tuple[_Person, ...]


class _Manifest(_Record):
    actions: tuple[str, ...]
    clips: tuple[_Clip, ...]


def read_manifest(folder: Path) -> tuple[tuple[str, ...], list[ClipTruth]]:
    """Read `folder/manifest.json`; see training.scenes.manifest for its format.

    Returns:
        The names of all actions that can occur, and the clips.

    Raises:
        MissingModel: There is no manifest.
        BadInput: It is not one.
    """
    path = folder / "manifest.json"
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise MissingModel(
            f"no scenes at {path}: run `dvc pull`, or render them with `python -m training.scenes`"
        ) from None
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path} is not a manifest of scenes: {where}: {first['msg']}") from None
    clips = [
        ClipTruth(
            path=folder / clip.file,
            sha256=clip.sha256,
            people=tuple(_describe(person, clip) for person in clip.people),
        )
        for clip in manifest.clips
    ]
    return manifest.actions, clips


def _describe(person: _Person, clip: _Clip) -> PersonTruth:
    frames = [frame for frame, box_px in enumerate(person.boxes_px) if box_px is not None]
    return PersonTruth(
        subject_id=person.subject_id,
        pts_seconds=np.array(frames, np.float64) / clip.fps,
        boxes_px=np.array([person.boxes_px[frame] for frame in frames], np.float32).reshape(-1, 4),
        happenings=tuple(_join(Path(clip.file).stem, person)),
    )


def _join(clip: str, person: _Person) -> Iterator[Happening]:
    """What they do, each as long as it lasts: who turns while walking walks on, though the script has two walks."""
    for action, parts in groupby(person.actions, key=lambda part: part.name):
        runs = list(parts)
        yield Happening(clip, person.subject_id, action, runs[0].start_seconds, runs[-1].end_seconds)
