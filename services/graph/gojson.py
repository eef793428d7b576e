"""JSON as Go's encoding/json reads and writes it.

KServe's router decodes a message into Go maps and encodes it again wherever it merges (Ensemble) or renames
(`mapPredictionsToInstances`). What comes out is not what went in: every number passes through float64, keys are
sorted, `<`, `>` and `&` are escaped. Messages that meet this module in one process meet the router in a cluster,
so the difference must not depend on where they ran.

Source: https://pkg.go.dev/encoding/json (Marshal, Unmarshal).
"""

import json
import math
import re
from decimal import Decimal
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias

Json: TypeAlias = "bool | float | str | list[Json] | dict[str, Json] | None"
"""A decoded value. Numbers are always float, as in Go's `interface{}`."""

_ESCAPED = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


class NotJson(ValueError):
    """The bytes are not one JSON value, or one nested deeper than can be read."""


def text_of(document: bytes) -> str:
    """Decode UTF-8 so that each invalid byte stands as one lone surrogate, which `encode` writes as U+FFFD."""
    return document.decode("utf-8", errors="surrogateescape")


def refuse_constant(name: str) -> NoReturn:
    """Refuse `NaN` and `Infinity`, which Python's parser takes and JSON does not have."""
    raise NotJson(f"invalid character {name[0]!r} looking for beginning of value")


def decode(document: bytes) -> Json:
    """Read one JSON value.

    Raises:
        NotJson: Not JSON, a number outside float64, or nested deeper than the interpreter's stack (about 900
            levels; Go stops at 10000).
    """
    try:
        value: Json = json.loads(
            text_of(document), parse_int=_number, parse_float=_number, parse_constant=refuse_constant
        )
    except json.JSONDecodeError as fault:
        raise NotJson(f"not JSON: {fault}") from fault
    except RecursionError as fault:
        raise NotJson("not readable JSON: nested too deep") from fault
    return value


def is_json(document: bytes) -> bool:
    """Whether the bytes are exactly one JSON value (numbers of any size)."""
    try:
        json.loads(text_of(document), parse_int=str, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def encode(value: Json) -> bytes:
    """Write a value as Go would: compact, keys sorted, HTML escaped.

    Raises:
        NotJson: Nested deeper than the interpreter's stack.
    """
    pieces: list[str] = []
    try:
        _write(value, pieces)
    except RecursionError as fault:
        raise NotJson("not writable JSON: nested too deep") from fault
    return "".join(pieces).encode("utf-8")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotJson(f"cannot unmarshal number {text} into Go value of type float64")
    return number


def _write(value: Json, pieces: list[str]) -> None:
    match value:
        case None:
            pieces.append("null")
        case bool():
            pieces.append("true" if value else "false")
        case float():
            pieces.append(_number_text(value))
        case str():
            pieces.append(_string_text(value))
        case list():
            pieces.append("[")
            for position, item in enumerate(value):
                if position:
                    pieces.append(",")
                _write(item, pieces)
            pieces.append("]")
        case dict():
            pieces.append("{")
            for position, key in enumerate(sorted(value)):
                if position:
                    pieces.append(",")
                pieces.append(_string_text(key))
                pieces.append(":")
                _write(value[key], pieces)
            pieces.append("}")


def _number_text(number: float) -> str:
    """Write the shortest decimal that reads back the same: plain from 1e-6 up to 1e21, else with an exponent."""
    shortest = repr(number)
    if number != 0 and not 1e-6 <= abs(number) < 1e21:
        return shortest.replace("e-0", "e-")
    if "e" in shortest:
        shortest = format(Decimal(shortest), "f")
    return shortest.removesuffix(".0")


def _string_text(text: str) -> str:
    return _ESCAPED.sub(_escape, encode_basestring(text))


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return "\ufffd" if "\ud800" <= character <= "\udfff" else f"\\u{ord(character):04x}"
