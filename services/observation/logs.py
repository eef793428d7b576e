"""Logs: one JSON object a line, with the request and the clip it is about, and nothing about the people in it.

Of an exception the type and the place are kept and the text is not: it may quote what it could not digest.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CONTEXT: ContextVar[dict[str, str] | None] = ContextVar("request", default=None)
# Whatever else a caller attaches to a record stays out.
_FIELDS = ("incident", "status", "milliseconds", "model", "reason")
_FRAMES = 8


@contextmanager
def request_context(**fields: str) -> Iterator[dict[str, str]]:
    """Name the request for every line logged inside; the map may be added to, as more becomes known."""
    context = {key: value for key, value in fields.items() if value}
    token = _CONTEXT.set(context)
    try:
        yield context
    finally:
        _CONTEXT.reset(token)


class JsonFormatter(logging.Formatter):
    """Formats records of one service.

    Args:
        service: Its name, on every line.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **(_CONTEXT.get() or {}),
        }
        line |= {field: getattr(record, field) for field in _FIELDS if hasattr(record, field)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error_type"] = record.exc_info[0].__name__
            line["stack"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-_FRAMES:]
            ]
        return json.dumps(line, ensure_ascii=False)


def log_json(service: str) -> None:
    """Send every log line of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # One line a request is ours; the libraries' own would say it again.
    for chatty in ("httpx", "uvicorn.access", "kserve", "kserve.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
