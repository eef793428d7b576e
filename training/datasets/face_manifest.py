"""FaceRecord: one face of one picture of one subject; a manifest is a file with one of them a line."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.contracts.errors import BadInput, MissingModel
from services.perception.frame import Picture


class FaceRecord(BaseModel):
    """Who is on which picture, where, from where and under what terms.

    `picture` is a path under the source's root; `file@offset:length` is a picture inside a packed file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject_id: str = Field(min_length=1)
    picture: str = Field(min_length=1)
    source: str = Field(min_length=1, description="The data set.")
    licence: str = Field(min_length=1, description="SPDX identifier, or the set's own terms in a few words.")
    box_px: tuple[float, float, float, float] | None = None
    landmarks_px: tuple[tuple[float, float], ...] | None = Field(None, min_length=5, max_length=5)
    groups: dict[str, str] = Field(default_factory=dict, description="Attributes given with the data, such as age.")


def write_records(records: Iterable[FaceRecord], path: Path) -> None:
    """Write a manifest; readers see the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.writelines(record.model_dump_json(exclude_defaults=True) + "\n" for record in records)
    partial.replace(path)


def read_records(path: Path) -> list[FaceRecord]:
    """Read a manifest.

    Raises:
        MissingModel: There is none.
        BadInput: A line is not a record; names it.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise MissingModel(f"no faces at {path}: run `python -m training.datasets.faces import --help`") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(FaceRecord.model_validate_json(line))
        except ValidationError as fault:
            first = fault.errors()[0]
            raise BadInput(f"{path}:{number}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return records


def open_picture(root: Path, picture: str) -> Picture:
    """Decode a record's picture: RGB, uint8, (H, W, 3), turned upright as its EXIF says.

    Raises:
        BadInput: It is absent or cannot be read.
    """
    name, packed, place = picture.rpartition("@")
    try:
        if packed and place.replace(":", "").isdigit():
            offset, length = (int(part) for part in place.split(":"))
            with (root / name).open("rb") as file:
                file.seek(offset)
                content = file.read(length)
        else:
            content = (root / picture).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as fault:
        raise BadInput(f"cannot read picture {root / picture}: {fault}") from fault


def number_subjects(subjects: Sequence[str]) -> tuple[list[str], list[int]]:
    """Names in order, and for each row the number of its name."""
    names = sorted(set(subjects))
    number = {name: index for index, name in enumerate(names)}
    return names, [number[subject] for subject in subjects]
