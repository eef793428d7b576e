"""Follows a GJSON path through a document."""

from dataclasses import dataclass

from services.graph.gjson.document import MISSING, Found, Members, Value, children, read
from services.graph.gjson.modifiers import modify
from services.graph.gjson.path import (
    ArrayPart,
    Selector,
    member_name,
    parse_array_part,
    parse_call,
    parse_literal,
    parse_object_part,
    parse_selectors,
    split_pipe,
)
from services.graph.gjson.query import Query
from services.graph.gojson import text_of


def exists(document: bytes, path: str) -> bool:
    """Whether a path finds anything in a JSON document; `false`, `null`, `[]` and `{}` are findings.

    >>> exists(b'{"people": [{"name": "ann", "age": 31}]}', 'people.#(age>30).name')
    True
    """
    try:
        return find(read(text_of(document)), path) is not MISSING
    except RecursionError:
        # Nested too deep for a modifier to walk, hence as good as unreadable.
        return False


def find(value: Found, path: str) -> Found:
    """Follow a path from a value, which itself may be missing: literals and some modifiers exist even then."""
    if len(path) > 1 and path[0] in "@!":
        stepped = _call(value, path) if path[0] == "@" else _literal(path)
        if stepped is not None:
            result, rest = stepped
            return find(result, rest[1:]) if rest[:1] in ("|", ".") else result
    if len(path) > 1 and path[0] in "[{":
        multipath = parse_selectors(path)
        if multipath is not None:
            selectors, rest = multipath
            selected = _select(value, selectors, as_object=path[0] == "{")
            return find(selected, rest[1:]) if rest else selected
    search = _Search()
    if path.startswith(".."):
        # "JSON lines": the document's values, of which a valid one has exactly one.
        search.in_array([] if value is MISSING else [value], path[2:])
    else:
        search.into(value, path)
    return search.value if search.pipe is None else find(search.value, search.pipe)


def _call(value: Found, path: str) -> tuple[Found, str] | None:
    call = parse_call(path)
    if call is None:
        return None
    if call.name == "dig":
        return _dig(value, call.argument), call.rest
    return modify(call.name, call.argument, value), call.rest


def _literal(path: str) -> tuple[Found, str] | None:
    literal = parse_literal(path)
    if literal is None:
        return None
    text, rest = literal
    # NaN and infinities are no JSON, yet gjson takes them for numbers.
    result = float(text) if text.lower() in ("nan", "inf") else read(text)
    return result, rest


def _select(value: Found, selectors: list[Selector], *, as_object: bool) -> Value:
    found = [(selector, find(value, selector.path)) for selector in selectors]
    if as_object:
        return Members([(member_name(selector), item) for selector, item in found if item is not MISSING])
    return [item for _, item in found if item is not MISSING]


def _dig(value: Found, path: str) -> list[Value]:
    """Collect what a path finds at every depth, outer values first."""
    collected: list[Value] = []
    pending: list[Found] = [value]
    while pending:
        current = pending.pop()
        result = find(current, path)
        if result is not MISSING:
            collected.append(result)
        pending.extend(list(children(current))[::-1])
    return collected


@dataclass(slots=True)
class _Search:
    """One walk. A pipe met on the way is kept even if the walk ends nowhere: it then applies to nothing."""

    value: Found = MISSING
    pipe: str | None = None

    def into(self, value: Found, path: str) -> bool:
        """Search a container; answers whether the search is over."""
        if isinstance(value, Members):
            return self.in_object(value, path)
        return isinstance(value, list) and self.in_array(value, path)

    def in_object(self, members: Members, path: str) -> bool:
        part = parse_object_part(path)
        self._note_pipe(part.pipe)
        for key, member in members.pairs:
            if not part.matches(key):
                continue
            if part.rest is None:
                self.value = member
                return True
            if self.into(member, part.rest):
                return True
        return False

    def in_array(self, items: list[Value], path: str) -> bool:
        part = parse_array_part(path)
        self._note_pipe(part.pipe)
        if part.query is not None:
            return self._by_query(items, part, part.query)
        if part.name == "#":
            if part.rest is None:
                self.value = float(len(items))
                return True
            each, pipe = split_pipe(part.rest)
            self._note_pipe(pipe)
            results = (find(item, each) for item in items)
            self.value = [result for result in results if result is not MISSING]
            return True
        if not (part.name.isascii() and part.name.isdigit()) or int(part.name) >= len(items):
            return False
        item = items[int(part.name)]
        if part.rest is None:
            self.value = item
            return True
        return self.into(item, part.rest)

    def _by_query(self, items: list[Value], part: ArrayPart, query: Query) -> bool:
        rest = part.rest
        accepted: list[Value] = []
        for item in items:
            is_container = isinstance(item, Members | list)
            if query.path and not is_container:
                continue
            if not query.accepts(find(item, query.path) if is_container else item):
                continue
            result: Found = item
            if rest is not None:
                rest, pipe = split_pipe(rest)
                self._note_pipe(pipe)
                result = find(item, rest)
            if not query.every:
                self.value = result
                return True
            if result is not MISSING:
                accepted.append(result)
        if query.every and self.value is MISSING:
            self.value = accepted
        return False

    def _note_pipe(self, pipe: str | None) -> None:
        if pipe is not None:
            self.pipe = pipe
