"""A JSON document as a path walks it: members in order with duplicates kept, numbers as float64."""

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from services.graph.gojson import refuse_constant


class _Absence(enum.Enum):
    MISSING = "missing"


MISSING: Final = _Absence.MISSING
"""What a path that leads nowhere finds. JSON's own null is None, and does exist."""


@dataclass(frozen=True, slots=True)
class Members:
    """A JSON object: a path may ask for any of several members of one name, in their order."""

    pairs: "list[tuple[str, Value]]"


Value: TypeAlias = "bool | float | str | list[Value] | Members | None"
Found: TypeAlias = "Value | Literal[_Absence.MISSING]"


def read(text: str) -> Found:
    """Read a document.

    The router never asks a path about a message that is not JSON. gjson itself reads as far as it can: here an
    unreadable text is an empty container if it opens one, and nothing otherwise.
    """
    try:
        value: Value = json.loads(text, object_pairs_hook=Members, parse_int=float, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        match text.lstrip()[:1]:
            case "{":
                return Members([])
            case "[":
                return []
        return MISSING
    return value


def write(value: Value) -> str:
    """Write a value back as compact JSON; numbers come out as float64 prints them."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def children(value: Found) -> Iterator[Value]:
    """Yield the items of an array or the values of an object, in order; a scalar has none."""
    if isinstance(value, list):
        yield from value
    elif isinstance(value, Members):
        for _, member in value.pairs:
            yield member


def _plain(value: Value) -> object:
    if isinstance(value, Members):
        return {key: _plain(member) for key, member in value.pairs}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
