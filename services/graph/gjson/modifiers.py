"""Modifiers, `@name:argument`: a value in, another value out."""

from services.graph.gjson.document import MISSING, Found, Members, Value, children, read, write


def modify(name: str, argument: str, value: Found) -> Found:
    """Apply a modifier to a value. `@dig` is not among them: it searches, see `search`."""
    match name:
        case "keys":
            return _keys(value)
        case "values":
            return _values(value)
        case "reverse":
            return _reverse(value)
        case "flatten":
            return _flatten(value, deep=_option(argument, "deep"))
        case "join":
            return _join(value, preserve=_option(argument, "preserve"))
        case "group":
            return _group(value)
        case "tostr":
            return "" if value is MISSING else write(value)
        case "fromstr":
            return read(value) if isinstance(value, str) else MISSING if value is None else value
    # @this is the value itself; @valid, @pretty and @ugly change nothing that exists.
    return value


def _option(argument: str, name: str) -> bool:
    options = read(argument)
    return isinstance(options, Members) and dict(options.pairs).get(name) is True


def _keys(value: Found) -> list[Value]:
    if isinstance(value, Members):
        return [key for key, _ in value.pairs]
    if isinstance(value, list):
        return [None] * len(value)
    return [] if value is MISSING else [None]


def _values(value: Found) -> list[Value]:
    if isinstance(value, Members):
        return [member for _, member in value.pairs]
    if isinstance(value, list):
        return value
    return [] if value is MISSING else [value]


def _reverse(value: Found) -> Found:
    if isinstance(value, Members):
        return Members(value.pairs[::-1])
    return value[::-1] if isinstance(value, list) else value


def _flatten(value: Found, *, deep: bool) -> Found:
    if not isinstance(value, list):
        return value
    flat: list[Value] = []
    for item in value:
        if isinstance(item, list):
            inner = _flatten(item, deep=True) if deep else item
            flat.extend(children(inner))
        else:
            flat.append(item)
    return flat


def _join(value: Found, *, preserve: bool) -> Found:
    if not isinstance(value, list):
        return value
    pairs = [pair for item in value if isinstance(item, Members) for pair in item.pairs]
    return Members(pairs if preserve else list(dict(pairs).items()))


def _group(value: Found) -> Found:
    if not isinstance(value, Members):
        return MISSING
    columns = [(key, member) for key, member in value.pairs if isinstance(member, list)]
    rows = max((len(column) for _, column in columns), default=0)
    return [Members([(key, column[row]) for key, column in columns if row < len(column)]) for row in range(rows)]
