"""The base of every message: frozen, and a field nobody declared is an error."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Unit = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]


class Message(BaseModel):
    """A value that crosses a process boundary as JSON.

    Ids are strings: KServe's router passes the numbers of an Ensemble through float64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> bytes:
        """UTF-8 JSON in declaration order, with no spaces: the same value gives the same bytes."""
        return self.model_dump_json().encode()
