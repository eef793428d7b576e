"""Gate: a door before an ASGI application."""

import json
from typing import Any

from services.access.caller import CALLER
from services.access.door import Door, Refusal, permission_for

_SAFETY = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Gate:
    """ASGI middleware: only those whom the door admits reach the application, which then knows its caller.

    Args:
        app: The ASGI application behind it.
        door: Decides.
    """

    def __init__(self, app: Any, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, or answer why not, its body unread."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        permission = permission_for(scope["method"], scope["path"])
        caller = None
        if permission is not None:
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
            peer = scope["client"][0] if scope.get("client") else "unknown"
            try:
                caller = self._door.admit(permission, headers, peer=peer)
            except Refusal as refusal:
                await _answer(send, refusal)
                return
        token = CALLER.set(caller)
        try:
            await self._app(scope, receive, _safely(send))
        finally:
            CALLER.reset(token)


def _safely(send: Any) -> Any:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_SAFETY]}
        await send(message)

    return sending


async def _answer(send: Any, refusal: Refusal) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers]
    headers += [(b"content-type", b"application/json"), (b"connection", b"close"), *_SAFETY]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": refusal.error}).encode()})
