"""Hops: the router between echo services, so that nothing is measured but the way."""

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from aiohttp import web

from services.contracts.errors import WhodidError
from services.graph.router import GraphExecutor, StepTiming
from services.graph.server import GraphServer
from services.graph.spec import RouterTimeouts, parse_graph
from services.graph.transports import HttpServices

STEPS = 3
_BODY = json.dumps({"text": "x" * 4096}).encode()
_START_SECONDS = 10.0
_MAX_BODY_BYTES = 2**20

Server = Callable[[asyncio.Event, Callable[[str], None]], Coroutine[Any, Any, None]]
"""Serves until the event is set; tells its url once it listens."""


@dataclass(frozen=True, slots=True)
class HopTimes:
    """Milliseconds of every request, or step.

    Attributes:
        direct: Client to service and back, without a router.
        step: Router to service and back, as the router times it.
        whole: Client to router, through every step, and back.
        requests: How many of each; of steps, so many times `STEPS`.
    """

    direct: list[float]
    step: list[float]
    whole: list[float]
    requests: int

    def by_name(self) -> list[tuple[str, list[float]]]:
        """Each series with what it is called."""
        return [
            ("no router: client to service", self.direct),
            ("one hop: router to service", self.step),
            (f"client to router, {STEPS} hops", self.whole),
        ]

    @staticmethod
    def percentiles(milliseconds: list[float]) -> tuple[float, float]:
        """The 50th and the 99th."""
        p50, p99 = np.percentile(milliseconds, [50, 99])
        return float(p50), float(p99)


def measure_hops(requests: int) -> HopTimes:
    """Send requests one after the other to an echo service, and through a Sequence of echo services.

    Raises:
        WhodidError: A request is not answered with what was sent.
    """
    steps = [{"name": f"echo-{number}", "serviceName": "echo", "data": "$response"} for number in range(STEPS)]
    graph = parse_graph(json.dumps({"nodes": {"root": {"routerType": "Sequence", "steps": steps}}}))
    times = HopTimes([], [], [], requests)

    def note(timing: StepTiming) -> None:
        times.step.append(timing.milliseconds)

    with _background(_serve_echo) as echo_url, HttpServices({"echo": echo_url}) as services, httpx.Client() as client:
        server = GraphServer(
            GraphExecutor(graph, services, on_step=note), RouterTimeouts(), max_body_bytes=_MAX_BODY_BYTES
        )

        async def serve_graph(stop: asyncio.Event, on_listening: Callable[[str], None]) -> None:
            await server.serve("127.0.0.1", 0, stop=stop, on_listening=on_listening)

        with _background(serve_graph) as graph_url:
            for url, series in ((echo_url, times.direct), (graph_url, times.whole)):
                _time_request(client, url)  # opens the connections
                times.step.clear()
                series += [_time_request(client, url) for _ in range(requests)]
    return times


def _time_request(client: httpx.Client, url: str) -> float:
    started = time.perf_counter()
    reply = client.post(url, content=_BODY, headers={"content-type": "application/json"})
    milliseconds = (time.perf_counter() - started) * 1000
    if reply.content != _BODY:
        raise WhodidError(f"{url} answered {reply.status_code} with something else than it was sent")
    return milliseconds


async def _serve_echo(stop: asyncio.Event, on_listening: Callable[[str], None]) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), content_type="application/json")

    application = web.Application()
    application.router.add_post("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        on_listening(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        await stop.wait()
    finally:
        await runner.cleanup()


@contextmanager
def _background(serve: Server) -> Iterator[str]:
    """Serve from a thread with a loop of its own; gives the url.

    Raises:
        WhodidError: It does not listen in time.
    """
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    listening: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve(stop, listening.put))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        url = listening.get(timeout=_START_SECONDS)
    except queue.Empty:
        raise WhodidError(f"no server on loopback after {_START_SECONDS:g} s: is 127.0.0.1 there?") from None
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
