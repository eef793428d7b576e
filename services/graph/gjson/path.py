"""The text of a GJSON path, cut into the parts that act on an object, an array or the whole value."""

import json
import re
from dataclasses import dataclass

from services.graph.gjson.glob import glob_matches
from services.graph.gjson.query import Query, parse_query

MODIFIERS = frozenset(
    {
        "dig",
        "flatten",
        "fromstr",
        "group",
        "join",
        "keys",
        "pretty",
        "reverse",
        "this",
        "tostr",
        "ugly",
        "valid",
        "values",
    }
)
"""The modifiers gjson knows; `@` before any other word is an ordinary key."""

_OPENERS, _CLOSERS = "[{(", "]})"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ObjectPart:
    """One step into an object: a key or a wildcard, then at most one of `rest` (after a dot) and `pipe`."""

    key: str
    wild: bool
    rest: str | None = None
    pipe: str | None = None

    def matches(self, key: str) -> bool:
        """Whether a member's key is meant."""
        return glob_matches(key, self.key) if self.wild else key == self.key


@dataclass(frozen=True, slots=True)
class ArrayPart:
    """One step into an array: an index, `#` (count, or each when `rest` follows) or a query `#(...)`."""

    name: str
    query: Query | None = None
    rest: str | None = None
    pipe: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A modifier with its argument, and the path that follows it."""

    name: str
    argument: str
    rest: str


@dataclass(frozen=True, slots=True)
class Selector:
    """One entry of a multipath `{name:path,...}` or `[path,...]`."""

    name: str
    path: str


def parse_object_part(path: str) -> ObjectPart:
    """Cut the first key off a path. A backslash takes the next character literally."""
    key: list[str] = []
    wild = False
    position = 0
    while position < len(path):
        character = path[position]
        after = path[position + 1 :]
        if character == "|":
            return ObjectPart("".join(key), wild, pipe=after)
        if character == ".":
            if _starts_pipe(after):
                return ObjectPart("".join(key), wild, pipe=after)
            return ObjectPart("".join(key), wild, rest=after)
        if character == "\\":
            key.append(after[:1])
            position += 2
            continue
        wild = wild or character in "*?"
        key.append(character)
        position += 1
    return ObjectPart("".join(key), wild)


def parse_array_part(path: str) -> ArrayPart:
    """Cut the first array step off a path. Backslashes mean nothing here."""
    query: Query | None = None
    hashed = False
    position = 0
    while position < len(path):
        character = path[position]
        after = path[position + 1 :]
        if character == "|":
            return ArrayPart(path[:position], query, pipe=after)
        if character == ".":
            if not hashed and _starts_pipe(after):
                return ArrayPart(path[:position], query, pipe=after)
            return ArrayPart(path[:position], query, rest=after)
        if character == "#":
            hashed = True
            if position == 0 and after[:1] in ("(", "["):
                parsed = parse_query(path)
                if parsed is None:
                    # An unclosed query swallows the path and asks nothing of the items.
                    return ArrayPart(path, Query())
                query, position = parsed
                continue
        position += 1
    return ArrayPart(path, query)


def parse_call(path: str) -> Call | None:
    """Read `@name`, `@name:argument` and what follows; None unless the name is a modifier's."""
    name = re.split(r"[:|.]", path[1:], maxsplit=1)[0]
    if name not in MODIFIERS:
        return None
    rest = path[1 + len(name) :]
    if not rest.startswith(":"):
        return Call(name, "", rest)
    rest = rest[1:]
    if rest[:1] in ("{", "[", '"'):
        end = balanced_end(rest, 0)
    else:
        end = 0
        while end < len(rest) and rest[end] != "|":
            end = balanced_end(rest, end) if rest[end] in '{["(' else end + 1
    return Call(name, rest[:end], rest[end:])


def parse_literal(path: str) -> tuple[str, str] | None:
    """Read a literal `!value`: its JSON text and the path that follows; None if there is none."""
    literal = path[1:]
    if literal[:1] in ("{", "["):
        end = balanced_end(literal, 0)
        return literal[:end], literal[end:]
    if literal[:1] in tuple('"+-0123456789'):
        # gjson looks for a bracket to close, finds none and takes all there is.
        return literal, ""
    word = re.split(r"[|.]", literal, maxsplit=1)[0]
    if word.lower() in ("true", "false", "null", "nan", "inf"):
        return word, literal[len(word) :]
    return None


def parse_selectors(path: str) -> tuple[list[Selector], str] | None:
    """Read a multipath and what follows it; None if it is never closed or followed by something else."""
    selectors: list[Selector] = []
    depth, start, colon, in_modifier = 1, 1, 0, False
    position = 1
    while position < len(path):
        character = path[position]
        if character == "\\":
            position += 2
            continue
        if character == '"':
            position = balanced_end(path, position)
            continue
        if character == "@" and path[position - 1] in ".|":
            in_modifier = True
        elif character == ":" and depth == 1 and not colon and not in_modifier:
            colon = position
        elif character in _OPENERS:
            depth += 1
        elif character in _CLOSERS:
            depth -= 1
        if depth == 0 or (character == "," and depth == 1):
            name = path[start:colon] if colon else ""
            selectors.append(Selector(name, path[colon + 1 if colon else start : position]))
            start, colon, in_modifier = position + 1, 0, False
        position += 1
        if depth == 0:
            rest = path[position:]
            return (selectors, rest) if not rest or rest[0] in "|." else None
    return None


def member_name(selector: Selector) -> str:
    """Name the member a selector makes: its own name, else the last simple part of its path, else `_`."""
    if selector.name:
        if selector.name.startswith('"'):
            try:
                return str(json.loads(selector.name))
            except ValueError:
                return selector.name
        return selector.name
    last = re.split(r"(?<!\\)[|.]", selector.path)[-1]
    return "_" if re.search(r"[\x00-\x1f\[\]{}()#|!]", last) else last


def split_pipe(path: str) -> tuple[str, str | None]:
    """Split at the first pipe that is not inside a query; gjson never splits what starts with a brace."""
    if path.startswith("{"):
        return path, None
    position = 0
    while position < len(path):
        if path[position] == "\\":
            position += 2
        elif path[position : position + 2] == ".#" and path[position + 2 : position + 3] in ("(", "["):
            position = balanced_end(path, position + 2)
        elif path[position] == "|":
            return path[:position], path[position + 1 :]
        else:
            position += 1
    return path, None


def balanced_end(text: str, start: int) -> int:
    """Find where the bracket or quote that opens at `start` is closed: the index after it, or the text's end."""
    depth = 0
    position = start
    while position < len(text):
        if text[position] == '"':
            quoted = _QUOTED.match(text, position)
            position = quoted.end() if quoted else len(text)
        else:
            depth += (text[position] in _OPENERS) - (text[position] in _CLOSERS)
            position += 1
        if depth == 0:
            return position
    return len(text)


def _starts_pipe(path: str) -> bool:
    """Whether a dot before this path acts as a pipe: before a modifier or a multipath it does."""
    if path.startswith("@"):
        return re.split(r"[.|:]", path[1:], maxsplit=1)[0] in MODIFIERS
    return path[:1] in ("[", "{")
