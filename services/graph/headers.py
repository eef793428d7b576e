"""Which of a client's headers travel on to the services.

None does by default. In a cluster `PROPAGATE_HEADERS` (comma-separated regular expressions) names those that do;
here it works the same way, traps included: expressions are not anchored, they are case-sensitive and meet the
canonical form of the name (`Traceparent`), so one writes `(?i)^traceparent$`; an empty expression matches all.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, str]]
"""Name and value pairs, in order, as latin-1 text; a name may occur several times."""

_log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Describe the connection or the body as sent by the client; each hop writes its own.
_PER_HOP = frozenset({"Content-Length", "Host", "Trailer", "Transfer-Encoding"})


def compile_patterns(setting: str | None) -> tuple[re.Pattern[str], ...]:
    """Read `PROPAGATE_HEADERS`; an expression that does not compile is logged and left out, as the router does."""
    if setting is None:
        return ()
    patterns = []
    for expression in setting.split(","):
        try:
            patterns.append(re.compile(expression))
        except re.error as fault:
            _log.warning("PROPAGATE_HEADERS: %r is not a regular expression (%s); ignored", expression, fault)
        else:
            if not expression:
                _log.warning("PROPAGATE_HEADERS: an empty expression matches every header; all are propagated")
    return tuple(patterns)


def canonical(name: str) -> str:
    """Write a header name as Go does: `x-request-id` is `X-Request-Id`; what is no valid name stays as it is."""
    if not _TOKEN.fullmatch(name):
        return name
    return "-".join(part.capitalize() for part in name.split("-"))


def propagated(headers: Iterable[tuple[str, str]], patterns: Sequence[re.Pattern[str]]) -> Headers:
    """Select the headers that any pattern matches, under their canonical names."""
    if not patterns:
        return ()
    named = ((canonical(name), value) for name, value in headers)
    return tuple(
        (name, value)
        for name, value in named
        if name not in _PER_HOP and any(pattern.search(name) for pattern in patterns)
    )
