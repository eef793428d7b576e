"""How a rendered person was to be seen at a moment: how near, from which side, and how much of them."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from services.contracts.errors import BadInput, MissingModel

_NEAR_PX, _FAR_PX = 400, 280
_FRONT_RAD = 0.52
_WHOLE_SHARE, _MOST_SHARE = 0.9, 0.5

_DISTANCES = (f"near: {_NEAR_PX} px or more", f"between: {_FAR_PX} to {_NEAR_PX} px", f"far: under {_FAR_PX} px")
# Faces turned by more than about 70 degrees are not listed.
_VIEWS = ("facing, within 30 degrees", "turned, 30 to 70 degrees", "no face to be seen")
_HIDDEN = (
    f"hardly: {_WHOLE_SHARE:.0%} or more visible",
    f"partly: {_MOST_SHARE:.0%} to {_WHOLE_SHARE:.0%} visible",
    f"mostly: under {_MOST_SHARE:.0%} visible",
)
FACTORS = {"distance": _DISTANCES, "view": _VIEWS, "hidden": _HIDDEN}
"""Values in the order of a table; there is the factor `place`, too, whose values are the scenes' own."""


class _Record(BaseModel):
    # Actions and seeds are for other readers of the manifest.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Face(_Record):
    yaw_rad: float


class _Person(_Record):
    subject_id: str
    boxes_px: tuple[tuple[float, float, float, float] | None, ...]
    visible: tuple[float, ...]
    faces: tuple[_Face | None, ...]


class _Clip(_Record):
    file: str
    fps: float
    place: str
    people: tuple[_Person, ...]


class _Manifest(_Record):
    clips: tuple[_Clip, ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """Looks up what the renderer wrote of everybody, frame by frame."""

    _clips: dict[str, _Clip]

    @classmethod
    def read(cls, scenes: Path) -> "Moments":
        """Of a folder with a manifest; see training.scenes.manifest.

        Raises:
            MissingModel: There is none.
            BadInput: It is not one.
        """
        path = scenes / "manifest.json"
        try:
            manifest = _Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise MissingModel(f"no scenes at {path}: run `dvc pull`") from None
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadInput(f"{path} does not say how people are seen: {where}: {first['msg']}") from None
        return cls({Path(clip.file).stem: clip for clip in manifest.clips})

    def describe(self, clip: str, subject_id: str, seconds: float) -> dict[str, str]:
        """Value of every factor, `place` included; empty where the person is out of the frame."""
        record = self._clips[clip]
        person = next((each for each in record.people if each.subject_id == subject_id), None)
        if person is None:
            return {}
        frame = min(max(round(seconds * record.fps), 0), len(person.boxes_px) - 1)
        box_px = person.boxes_px[frame]
        if box_px is None:
            return {}
        body_px = max(box_px[2] - box_px[0], box_px[3] - box_px[1])
        visible, face = person.visible[frame], person.faces[frame]
        return {
            "distance": _DISTANCES[0 if body_px >= _NEAR_PX else 1 if body_px >= _FAR_PX else 2],
            "view": _VIEWS[2 if face is None else 0 if abs(face.yaw_rad) <= _FRONT_RAD else 1],
            "hidden": _HIDDEN[0 if visible >= _WHOLE_SHARE else 1 if visible >= _MOST_SHARE else 2],
            "place": record.place,
        }
