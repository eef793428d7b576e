"""Wildcards of keys and of the query operator `%`."""

import fnmatch
import re


def glob_matches(text: str, pattern: str) -> bool:
    """Match `*` (any run) and `?` (any one character); a backslash takes the next character literally."""
    # Of fnmatch's signs only these two are gjson's; everything else is put in brackets to stand for itself.
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    translated = "".join(piece if piece in ("*", "?") else f"[{piece[-1]}]" for piece in pieces)
    return re.match(fnmatch.translate(translated), text) is not None
