"""Clips: which clip a message is about."""

from services.contracts.clip import ClipRef
from services.contracts.events import EventsRequest, Failure
from services.contracts.message import Message
from services.contracts.tracks import TracksRequest, TracksResponse


def clip_of(request: Message) -> ClipRef | None:
    """The clip of a request to any of the four services; None when both branches of `events` failed."""
    match request:
        case TracksRequest() | TracksResponse():
            return request.clip
        case EventsRequest():
            branches = [branch for branch in (request.identity, request.action) if not isinstance(branch, Failure)]
            return branches[0].tracks.clip if branches else None
        case _:
            return None
