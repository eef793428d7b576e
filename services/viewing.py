"""Viewing: the archive over HTTP, for people who may look at what was seen on their cameras and at nothing else.

    GET /v1/events?who=&did=&camera=&from=&to=&with=&unknown=&limit=&page=

Behind the same door as every service: a token, a role, a stated purpose, a rate. Each question is recorded before it is
answered. It searches no faces and shows no pixels.
"""

import socket
import sys
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.access.audit import AuditLog
from services.access.caller import current_caller
from services.access.door import Door
from services.access.gate import Gate
from services.access.roles import Permission
from services.archive.query import EventQuery
from services.archive.store import Archive
from services.body_limit import BodyLimit
from services.contracts.errors import WhodidError
from services.gallery.store import Gallery
from services.gallery.strangers import also_called, read_names
from services.settings import Settings

PATH = "/v1/events"
MOST_EVENTS = 500
_MAX_BODY_BYTES = 2**16

# No NUL: PostgreSQL takes none in a text.
Text = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


class EventsPage(BaseModel):
    """Some of the events that fit.

    Attributes:
        events: As in `events.jsonl`, oldest first, and with the pseudonym of somebody unknown.
        page: Which, from 1.
        limit: Of how many at most.
        more: Whether there may be another page: this one is full.
    """

    model_config = ConfigDict(frozen=True)

    events: tuple[dict[str, Any], ...]
    page: int
    limit: int
    more: bool


def make_application(settings: Settings) -> Callable[..., Any]:
    """The ASGI application, behind the door that settings ask for.

    Args:
        settings: Say where archive, gallery and audit log are, and who may ask.
    """
    archive, gallery, audit = Archive(settings.archive), Gallery.open(settings), AuditLog.open(settings)
    application = FastAPI(title="whodid events", version="1")

    @application.exception_handler(WhodidError)
    async def refuse(_: Request, error: WhodidError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.http_status)

    @application.get(PATH)
    def list_events(
        who: Text = None,
        did: Text = None,
        camera: Text = None,
        since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
        until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
        together_with: Annotated[
            str | None, Query(alias="with", min_length=1, max_length=200, pattern=r"^[^\x00]+$")
        ] = None,
        unknown: bool = False,
        limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    ) -> EventsPage:
        """Who did what on the cameras the caller may look at; clips of no camera are for those who may see all."""
        caller = current_caller()
        if camera is not None:
            caller.require_camera(Permission.VIEW, camera)
        names = read_names(gallery) if who or together_with else {}
        query = EventQuery(
            subject_id=who,
            pseudonyms=also_called(who, names),
            unknown=unknown,
            action=did,
            camera_id=camera,
            camera_ids=caller.cameras(Permission.VIEW),
            from_time=since,
            to_time=until,
            with_subject_id=together_with,
            with_pseudonyms=also_called(together_with, names),
            limit=limit,
            page=page,
        )
        asked = [name for name in (who, together_with) if name]
        audit.record("search", caller, subjects=asked, action=did, camera_id=camera, over="http")
        found = [sighting.event.model_dump(mode="json") for sighting in archive.find_events(query)]
        return EventsPage(events=tuple(found), page=page, limit=limit, more=len(found) == limit)

    door = Door.open(settings)
    bounded = BodyLimit(application, _MAX_BODY_BYTES)
    return bounded if door is None else Gate(bounded, door)


def serve_events(settings: Settings, *, host: str, port: int) -> None:
    """Answer until SIGTERM; prints `listening on URL` on stderr first."""
    import uvicorn

    application = make_application(settings)
    listener = socket.create_server((host, port))
    sys.stderr.write(f"listening on http://{host}:{listener.getsockname()[1]}{PATH}\n")
    sys.stderr.flush()
    uvicorn.Server(uvicorn.Config(application, log_config=None)).run(sockets=[listener])
