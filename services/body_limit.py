"""BodyLimit: how large a request may be, before an ASGI application."""

from typing import Any

from services.service import error_body


class BodyLimit:
    """ASGI middleware: a body above the limit is answered 413 and never held in memory.

    Args:
        app: The ASGI application behind it.
        max_bytes: The largest body let through.
    """

    def __init__(self, app: Any, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, or refuse it as soon as it is known to be too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chunks: list[bytes] = []
        size = int(dict(scope["headers"]).get(b"content-length", b"0"))
        more = True
        while more and size <= self._max_bytes:
            message = await receive()
            if message["type"] != "http.request":
                return
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
            size = max(size, sum(map(len, chunks)))
        if size > self._max_bytes:
            error = error_body(
                f"body of {size} bytes is over the limit of {self._max_bytes}: send a uri, not the clip itself"
            )
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": error})
            return
        whole = {"type": "http.request", "body": b"".join(chunks), "more_body": False}

        async def replay() -> Any:
            nonlocal whole
            if whole:
                message, whole = whole, {}
                return message
            return await receive()

        await self._app(scope, replay, send)
