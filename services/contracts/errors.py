"""What can go wrong, as the caller sees it: one message, one exit code, one HTTP status."""


class WhodidError(Exception):
    """A fault with a message for the person who asked; the message names the value and the remedy."""

    exit_code = 1
    http_status = 500


class BadUsage(WhodidError):
    """The request itself is malformed: options, JSON shape, an invalid graph."""

    exit_code = 2
    http_status = 400


class BadInput(WhodidError):
    """The material cannot be used: not a video, no face in an image, unknown subject, wrong digest."""

    exit_code = 3
    http_status = 422


class MissingModel(WhodidError):
    """A model or data file is absent, or its bytes are not the ones its card names."""

    exit_code = 4
    http_status = 503


class Busy(WhodidError):
    """No room or not ready just now; the same request will do after `retry_after_seconds`."""

    http_status = 503

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(f"{message}; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class Refused(WhodidError):
    """Everything could be read and measured, and the answer is no: a gate failed, a canary must be aborted."""

    exit_code = 5
    http_status = 409
