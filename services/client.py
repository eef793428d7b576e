"""A clip in, an Analysis out: sends a ClipRef through a graph, here or elsewhere."""

import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx
from pydantic import ValidationError

from services.access.door import PURPOSE_HEADER
from services.contracts.clip import ClipRef
from services.contracts.errors import BadInput, BadUsage, MissingModel, WhodidError
from services.contracts.events import Analysis, Failure
from services.contracts.tracks import TracksRequest

SendRequest = Callable[[bytes], tuple[int, bytes]]
_CHUNK_BYTES = 2**20


def refer_to_clip(path: Path, *, camera_id: str | None = None, started_at: datetime | None = None) -> ClipRef:
    """Name a file by the digest of its bytes.

    Args:
        path: The file.
        camera_id: Which camera recorded it, where that is known.
        started_at: When its second 0 was recorded, likewise.

    Raises:
        BadInput: It is not a file that can be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise BadInput(f"cannot read clip {path}: {error.strerror}") from error
    return ClipRef(clip_id=digest.hexdigest(), uri=path.resolve().as_uri(), camera_id=camera_id, started_at=started_at)


def analyze_clip(
    send: SendRequest, clip: ClipRef, *, from_seconds: float = 0.0, to_seconds: float | None = None
) -> Analysis:
    """Send one clip through the graph and wait for who did what.

    Args:
        send: Takes the request's body, gives status and body of the reply.
        clip: Readable by the services at its uri.
        from_seconds: Where to start.
        to_seconds: Where to stop; the clip's end when None.

    Raises:
        WhodidError: What a service said, as the kind its status stands for.
    """
    try:
        request = TracksRequest(clip=clip, from_seconds=from_seconds, to_seconds=to_seconds)
    except ValidationError as error:
        raise BadUsage(f"--from {from_seconds} --to {to_seconds}: {error.errors()[0]['msg']}") from error
    status, body = send(request.to_json())
    if status != 200:
        raise _refusal(status, body)
    return Analysis.model_validate_json(body)


def post_to(url: str, *, token: str | None = None, purpose: str | None = None) -> SendRequest:
    """Send requests to a graph served at `url`.

    Args:
        url: Of the graph.
        token: Proves who asks; see services.access.tokens.
        purpose: Why they ask.
    """
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if purpose:
        headers[PURPOSE_HEADER] = purpose

    def send(body: bytes) -> tuple[int, bytes]:
        try:
            reply = httpx.post(url, content=body, headers={**headers, "traceparent": _new_trace()}, timeout=None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BadUsage(f"no graph answers at {url}: {error}; start one with `whodid serve`") from error
        return reply.status_code, reply.content

    return send


def _new_trace() -> str:
    """One trace for all steps of a request.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header.
    """
    return f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"


def _refusal(status: int, body: bytes) -> WhodidError:
    try:
        message = Failure.model_validate_json(body).error
    except ValidationError:
        message = f"the graph answered {status}: {body[:200].decode(errors='replace')}"
    if status in (401, 403, 429):
        return BadUsage(f"{message} ({status})")
    for kind in (BadUsage, BadInput, MissingModel):
        if kind.http_status == status:
            return kind(message)
    return WhodidError(message)
