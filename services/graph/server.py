"""The router's HTTP surface: every path and method runs the graph, `/readyz` says that it can."""

import asyncio
import concurrent.futures
import logging
import re
import threading
from collections.abc import Callable, Sequence

from aiohttp import web

from services.access.door import Door, Refusal
from services.access.roles import Permission
from services.graph.gojson import encode
from services.graph.headers import Headers, propagated
from services.graph.router import GraphExecutor, Reply
from services.graph.spec import RouterTimeouts

_log = logging.getLogger(__name__)

# How long a stop waits for requests in flight when `serverWrite` sets no end to them.
_PATIENCE_SECONDS = 3600


class _BodyTooLarge(Exception):
    """The request is larger than the server takes."""


class GraphServer:
    """Serves one graph over HTTP.

    Args:
        executor: Runs the requests, each on a thread of its own.
        timeouts: `serverRead` ends a request that does not arrive in time; a reply later than `serverWrite` is
            dropped and the connection closed without a response, as the router does; `serverIdle` closes idle ones.
        propagate: Which request headers travel on to the services.
        max_body_bytes: A larger request is refused with 413, unread.
        door: Whom to let in; everybody when None, as the router does.
    """

    def __init__(
        self,
        executor: GraphExecutor,
        timeouts: RouterTimeouts,
        *,
        propagate: Sequence[re.Pattern[str]] = (),
        max_body_bytes: int,
        door: Door | None = None,
    ) -> None:
        self._door = door
        self._executor = executor
        self._timeouts = timeouts
        self._propagate = propagate
        self._max_body_bytes = max_body_bytes

    async def serve(self, host: str, port: int, *, stop: asyncio.Event, on_listening: Callable[[str], None]) -> None:
        """Serve until `stop` is set, then take no new request, finish those in flight and return.

        Args:
            host: Address to listen on.
            port: Port to listen on; 0 picks a free one.
            stop: Set it to stop.
            on_listening: Told the URL once requests are taken.

        Raises:
            OSError: The address cannot be listened on.
        """
        application = web.Application()
        application.router.add_route("*", "/readyz", self._ready)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_limit_seconds(self._timeouts.server_idle) or _PATIENCE_SECONDS,
            shutdown_timeout=_limit_seconds(self._timeouts.server_write) or _PATIENCE_SECONDS,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            bound_host, bound_port = runner.addresses[0][:2]
            on_listening(f"http://{bound_host}:{bound_port}")
            await stop.wait()
        finally:
            await runner.cleanup()

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _handle(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        started_seconds = loop.time()
        raw_headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        try:
            if self._door is not None:
                self._door.admit(Permission.SEARCH, raw_headers, peer=request.remote or "unknown")
            async with asyncio.timeout(_limit_seconds(self._timeouts.server_read)):
                body = await _read_body(request, self._max_body_bytes)
        except _BodyTooLarge:
            limit_mib = self._max_body_bytes / 2**20
            fault = f"the request body is larger than {limit_mib:g} MiB; send clips by reference, not by value"
            return web.Response(status=413, body=encode({"error": fault}), headers={"Content-Type": "application/json"})
        except Refusal as refusal:
            return web.Response(
                status=refusal.status,
                body=encode({"error": refusal.error}),
                headers={"Content-Type": "application/json", "Connection": "close", **dict(refusal.headers)},
            )
        except TimeoutError:
            return _dropped(request, f"serverRead of {self._timeouts.server_read} s passed before it was complete")
        headers = propagated(raw_headers, self._propagate)
        reply = await self._run(body, headers)
        write_limit_seconds = _limit_seconds(self._timeouts.server_write)
        if write_limit_seconds is not None and loop.time() - started_seconds > write_limit_seconds:
            return _dropped(request, f"the reply came after serverWrite of {write_limit_seconds} s; raise it")
        return web.Response(
            status=reply.status,
            body=reply.body,
            headers={"Content-Type": reply.content_type} if reply.content_type else None,
        )

    async def _run(self, body: bytes, headers: Headers) -> Reply:
        """Run the graph on a daemon thread: a service that never answers must not keep the process from ending."""
        outcome: concurrent.futures.Future[Reply] = concurrent.futures.Future()

        def run() -> None:
            try:
                outcome.set_result(self._executor.run(body, headers))
            except BaseException as fault:
                # Raised again where it is awaited, and answered there with 500.
                outcome.set_exception(fault)

        threading.Thread(target=run, daemon=True).start()
        return await asyncio.shield(asyncio.wrap_future(outcome))


def _limit_seconds(setting: int) -> int | None:
    return setting if setting > 0 else None


async def _read_body(request: web.Request, max_bytes: int) -> bytes:
    if (request.content_length or 0) > max_bytes:
        raise _BodyTooLarge
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise _BodyTooLarge
    return bytes(body)


def _dropped(request: web.Request, reason: str) -> web.Response:
    """Close the connection; what is returned goes nowhere, it only ends the handler."""
    _log.warning("connection closed without a response: %s", reason)
    if request.transport is not None:
        request.transport.close()
    return web.Response()
