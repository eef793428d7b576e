"""Patience: the same request again, while the graph is busy or one of its services restarts."""

import time
from collections.abc import Callable

from pydantic import ValidationError

from services.contracts.events import Failure

SendRequest = Callable[[bytes], tuple[int, bytes]]
# A service that restarts needs this long at most to be ready again; a full queue says itself how long.
PATIENCE_SECONDS = 120.0
_RETRY_SECONDS = 2.0
# What the router says of a service that gave no answer; a service's own fault reads otherwise and is not asked again.
_UNREACHED = b'"error":"Failed to process request"'


def send_patiently(
    send: SendRequest, *, patience_seconds: float = PATIENCE_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> SendRequest:
    """Send a request until it gets an answer that trying again cannot better.

    The same clip gives the same event ids, so sending it twice does no harm.

    Args:
        send: Takes the request's body, gives status and body of the reply.
        patience_seconds: How long to pause in all.
        sleep: Pauses.
    """

    def send_again(body: bytes) -> tuple[int, bytes]:
        paused_seconds = 0.0
        while True:
            status, reply = send(body)
            pause_seconds = _pause_seconds(status, reply)
            if pause_seconds is None or paused_seconds + pause_seconds > patience_seconds:
                return status, reply
            sleep(pause_seconds)
            paused_seconds += pause_seconds

    return send_again


def _pause_seconds(status: int, reply: bytes) -> float | None:
    """How long to wait before the same request is worth sending again; None when it is not."""
    if status == 500 and _UNREACHED in reply:
        return _RETRY_SECONDS
    if status not in (429, 503):
        return None
    try:
        return Failure.model_validate_json(reply).retry_after_seconds
    except ValidationError:
        return None
