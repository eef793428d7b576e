"""Array queries, `#(path op value)`: how one is read and which items it accepts."""

import json
import operator
from dataclasses import dataclass

from services.graph.gjson.document import MISSING, Found
from services.graph.gjson.glob import glob_matches

_BLANK = "".join(map(chr, range(33)))
_COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TRUE_WORDS, _FALSE_WORDS = ("1", "t", "true"), ("0", "f", "false")


@dataclass(frozen=True, slots=True)
class Query:
    """What an item must satisfy; without an operator `path` need only exist. `every` collects all that do."""

    path: str = ""
    operator: str = ""
    value: str = ""
    every: bool = False

    def accepts(self, subject: Found) -> bool:
        """Whether the value that `path` found satisfies the comparison."""
        value = self.value
        if value.startswith("~"):
            subject = _truth(subject, value[1:])
            value = "true"
        if subject is MISSING:
            return False
        if not self.operator:
            return True
        match subject:
            case bool():
                return _accepts_boolean(subject, self.operator, value)
            case float():
                compare = _COMPARISONS.get(self.operator)
                return compare is not None and bool(compare(subject, _number(value)))
            case str() if self.operator in ("%", "!%"):
                return glob_matches(subject, value) == (self.operator == "%")
            case str():
                return bool(_COMPARISONS[self.operator](subject, value))
        return False


def parse_query(path: str) -> tuple[Query, int] | None:
    """Read the query a path starts with: the query and where it ends; None if it is never closed."""
    depth, sign, position, escaped = 1, 0, 2, False
    while position < len(path):
        character = path[position]
        if depth == 1 and not sign and character in "!=<>%":
            sign = position
        elif character == "\\":
            position += 1
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
            if depth == 0:
                break
        elif character == '"':
            position += 1
            while position < len(path) and path[position] != '"':
                if path[position] == "\\":
                    escaped = True
                    position += 1
                position += 1
        position += 1
    if depth:
        return None
    end = position + 1
    every = path[end : end + 1] == "#"
    if not sign:
        return Query(path[2:position].strip(_BLANK), every=every), end
    sign_text, value = _split_operator(path[sign:position].strip(_BLANK))
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = _unescape(value[1:-1]) if escaped else value[1:-1]
    return Query(path[2:sign].strip(_BLANK), sign_text, value, every), end


def _split_operator(comparison: str) -> tuple[str, str]:
    for sign in ("!=", "!%", "<=", ">=", "==", "<", ">", "=", "%"):
        if comparison.startswith(sign):
            return ("=" if sign == "==" else sign), comparison[len(sign) :].strip(_BLANK)
    return ("!", "") if comparison == "!" else ("", comparison)


def _unescape(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _number(text: str) -> float:
    """Read a number as Go does; what is none counts as zero."""
    try:
        return float(text) if text == text.strip() and "_" not in text else 0.0
    except ValueError:
        return 0.0


def _truth(subject: Found, meaning: str) -> Found:
    """Answer a tilde question (`~true`, `~false`, `~null`, `~*`) about a value; any other finds nothing."""
    match meaning:
        case "*":
            return subject is not MISSING
        case "null":
            return subject is MISSING or subject is None
        case "true":
            if isinstance(subject, str):
                return subject.lower() in _TRUE_WORDS
            return isinstance(subject, (bool, float)) and bool(subject)
        case "false":
            if isinstance(subject, str):
                return subject.lower() in _FALSE_WORDS
            return subject is MISSING or subject is None or (isinstance(subject, (bool, float)) and not subject)
    return MISSING


def _accepts_boolean(subject: bool, sign: str, value: str) -> bool:
    """Compare with the words true and false; false sorts before true, and gjson knows no other case."""
    word = "true" if subject else "false"
    match sign:
        case "=":
            return value == word
        case "!=":
            return value != word
        case ">=":
            return subject
        case "<=":
            return not subject
        case ">":
            return subject and value == "false"
        case "<":
            return not subject and value == "true"
    return False
