"""A service: one verb on messages. Errors become statuses here, in one process and over HTTP alike.

The only importer of kserve, and only when serving: an analysis in one process never loads it.
"""

import argparse
import asyncio
import contextvars
import json
import logging
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from services.access.door import Door
from services.access.gate import Gate
from services.contracts.card import ModelCard
from services.contracts.errors import Busy, WhodidError
from services.contracts.message import Message
from services.hosting import Hosted, Queue
from services.observation.clips import clip_of
from services.observation.logs import log_json, request_context
from services.observation.metrics import ServiceMetrics
from services.observation.traces import Tracing
from services.settings import Settings, read_settings

_LOG = logging.getLogger(__name__)
_MAX_BODY_BYTES = 64 * 2**20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RequestT = TypeVar("RequestT", bound=Message)


class Witness(Protocol):
    """Told what passes through a service, to count and to log it."""

    def took(self, request: Message) -> None:
        """A request was understood."""

    def gave(self, answer: Message) -> None:
        """It was answered."""


@dataclass(frozen=True, slots=True)
class Service(Generic[RequestT]):
    """A named verb: it takes one message and answers one.

    Attributes:
        name: The package's, InferenceService's and graph step's name.
        request: What it takes.
        verb: What it does; raises WhodidError for what the caller can mend.
        cards: Of the networks it runs.
        warm_up: Runs them once, so that the first request waits for no compiler.
    """

    name: str
    request: type[RequestT]
    verb: Callable[[RequestT], Message]
    cards: tuple[ModelCard, ...] = ()
    warm_up: Callable[[], object] = lambda: None

    def answer(self, body: bytes, witness: Witness | None = None) -> tuple[int, bytes]:
        """HTTP status and JSON body for a request body: what the router would see."""
        try:
            request = _parse(self.request, body)
            if witness is not None:
                witness.took(request)
            answer = self.verb(request)
            if witness is not None:
                witness.gave(answer)
            return 200, answer.to_json()
        except WhodidError as error:
            return _refusal(error)
        except ValidationError as error:
            return 400, _error_body(_describe(self.request, error))
        except Exception:
            incident = uuid.uuid4().hex[:12]
            _LOG.exception("incident %s in service %s", incident, self.name, extra={"incident": incident})
            return 500, _error_body(f"internal fault in {self.name}: incident {incident} in the service's log")


def _parse(request: type[RequestT], body: bytes) -> RequestT:
    return request.model_validate_json(body)


def _error_body(error: str) -> bytes:
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def _refusal(error: WhodidError) -> tuple[int, bytes]:
    if not isinstance(error, Busy):
        return error.http_status, _error_body(str(error))
    # The router returns no headers, so what Retry-After says stands in the body, too.
    body = {"error": str(error), "retry_after_seconds": error.retry_after_seconds}
    return error.http_status, json.dumps(body, ensure_ascii=False).encode()


def _describe(request: type[Message], error: ValidationError) -> str:
    """Which fields are wrong and why, never what was in them."""
    faults = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()[:5]]
    return f"not a {request.__name__}: {'; '.join(faults)}"


class Load(Protocol):
    """Makes a service ready: its weights verified, its metrics, when there are any, fed."""

    def __call__(self, settings: Settings, *, metrics: ServiceMetrics | None = None) -> Service[Any]:
        """Load what the settings name as they are now."""


def serve(name: str, load: Load, arguments: Sequence[str] | None = None) -> None:
    """Answer `POST /v1/models/NAME:predict` until SIGTERM, then finish what is under way.

    Prints `listening on URL` on stderr once it accepts connections. Without `--stay` that is when it can answer, and
    a service that cannot be loaded exits with the error's code; with it the port is open at once, and
    `GET /v2/models/NAME/ready` says 503 and why until it can. `POST /v2/repository/models/NAME/load` takes up the
    version that is current by then, while requests go on.

    Args:
        name: The service's name.
        load: Makes it ready; see services.assembly.
        arguments: Of the command line; the process's own when None.
    """
    options = _parser(name).parse_args(arguments)
    sys.argv[1:] = []  # kserve parses the command line when it is imported
    from prometheus_client import REGISTRY, start_http_server

    if options.json_logs:
        log_json(name)
    metrics = ServiceMetrics(name, REGISTRY)

    def load_current() -> Service[Any]:
        try:
            service = load(read_settings(), metrics=metrics)
        except WhodidError as refusal:
            metrics.serve((), loaded=False)
            _LOG.error("the current version is refused", extra={"reason": str(refusal)})
            raise
        metrics.serve(service.cards, loaded=True)
        return service

    hosted = Hosted(load_current)
    try:
        tracing = Tracing.start(name)
        if not options.stay:
            hosted.renew()
    except WhodidError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    if options.stay:
        threading.Thread(target=_renew_quietly, args=(hosted,), daemon=True).start()
    if options.metrics_port is not None:
        start_http_server(options.metrics_port, options.host, REGISTRY)
    _listen(Desk(name, hosted, Queue(options.concurrency, options.queue), metrics, tracing), options)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--metrics-port", type=int, help="serves /metrics alone, for a network policy to tell apart")
    parser.add_argument("--concurrency", type=int, default=1, help="requests worked on side by side")
    parser.add_argument("--queue", type=int, default=16, help="requests that may wait; the next is answered 503")
    parser.add_argument("--drain-seconds", type=float, default=0, help="unready, but answering, before it stops")
    parser.add_argument("--stay", action="store_true", help="stay up and say why when the model is refused")
    parser.add_argument("--json-logs", action="store_true", help="one JSON object a line, without personal data")
    return parser


def _renew_quietly(hosted: Hosted) -> None:
    try:
        hosted.renew()
    except WhodidError:
        return  # logged, and said on the readiness path


class Desk:
    """Where requests come in: lets them in or turns them away, has them answered, counts and logs each.

    Args:
        name: The service's.
        hosted: Whichever version answers.
        queue: How many may be inside.
        metrics: Told of every request.
        tracing: Spans.
    """

    def __init__(self, name: str, hosted: Hosted, queue: Queue, metrics: ServiceMetrics, tracing: Tracing) -> None:
        self.name, self.hosted = name, hosted
        self._queue, self._metrics, self._tracing = queue, metrics, tracing
        self._workers = ThreadPoolExecutor(queue.workers, thread_name_prefix=name)

    async def answer(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The answer's body.

        Raises:
            Refused: With any other status than 200.
        """
        arrived = time.perf_counter()
        try:
            self._queue.enter()
        except Busy as busy:
            self._metrics.refuse()
            self._metrics.finish(busy.http_status, 0.0)
            raise Refused(*_refusal(busy), retry_after_seconds=busy.retry_after_seconds) from busy
        self._show_queue()
        worked_seconds = 0.0
        try:
            loop = asyncio.get_running_loop()
            status, answer, retry_after_seconds, worked_seconds = await loop.run_in_executor(
                # The context goes along: it holds who asks (services.access.caller).
                self._workers,
                contextvars.copy_context().run,
                self._work,
                body,
                headers,
            )
        finally:
            self._queue.leave(worked_seconds)
            self._show_queue()
        self._metrics.finish(status, time.perf_counter() - arrived)
        if status != 200:
            raise Refused(status, answer, retry_after_seconds=retry_after_seconds)
        return answer

    def _work(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes, int | None, float]:
        """Status, body, when to try again, and seconds of work; on a worker's thread."""
        started = time.perf_counter()
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with (
            self._tracing.span(self.name, headers) as trace_id,
            request_context(request_id=request_id, trace_id=trace_id) as context,
        ):
            retry_after_seconds = None
            try:
                status, answer = self.hosted.take().answer(body, _RequestWitness(context, self._metrics))
            except WhodidError as error:
                status, answer = _refusal(error)
                retry_after_seconds = error.retry_after_seconds if isinstance(error, Busy) else None
            seconds = time.perf_counter() - started
            _LOG.info("answered", extra={"status": status, "milliseconds": round(seconds * 1000, 1)})
        return status, answer, retry_after_seconds, seconds

    def _show_queue(self) -> None:
        self._metrics.queue(running=self._queue.running, waiting=self._queue.waiting)


@dataclass(frozen=True, slots=True)
class _RequestWitness:
    """Adds a request's clip to its log lines, and counts its answer."""

    context: dict[str, str]
    metrics: ServiceMetrics

    def took(self, request: Message) -> None:
        """A request was understood."""
        if (clip := clip_of(request)) is not None:
            self.context["clip_id"] = clip.clip_id

    def gave(self, answer: Message) -> None:
        """It was answered."""
        self.metrics.gave(answer)


def _listen(desk: Desk, options: argparse.Namespace) -> None:
    import uvicorn
    from kserve import Model, ModelRepository
    from kserve.model_server import app
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.server import RESTServer
    from starlette.responses import Response

    class Answering(Model):  # type: ignore[misc]  # kserve ships no types
        def __init__(self) -> None:
            super().__init__(desk.name)
            self.ready = True

        async def predict(self, payload: object, headers: Mapping[str, str] | None = None) -> bytes:
            # kserve hands JSON over parsed, other content types as bytes.
            body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            return await desk.answer(body, headers or {})

    class Plane(DataPlane):  # type: ignore[misc]
        async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
            # The flag tells a request from a probe: while it drains a service is unready and answers nevertheless.
            known: bool = await super().model_ready(model_name, disable_predictor_health_check)
            reason = None if disable_predictor_health_check else desk.hosted.why_not_ready()
            if reason is not None:
                raise Refused(503, _error_body(f"{desk.name} is not ready: {reason}"))
            return known

    class Versions(ModelRepositoryExtension):  # type: ignore[misc]
        async def load(self, model_name: str) -> None:
            await self._require(model_name)
            try:
                await asyncio.to_thread(desk.hosted.renew)
            except WhodidError as error:
                raise Refused(503, _error_body(str(error))) from error

        async def unload(self, model_name: str) -> None:
            await self._require(model_name)
            raise Refused(405, _error_body(f"{model_name} is not unloaded: stop the process, or load another version"))

        async def _require(self, model_name: str) -> None:
            if model_name != desk.name:
                raise Refused(404, _error_body(f"no model {model_name!r} here, only {desk.name!r}"))

    async def refuse(_: object, error: Exception) -> Response:
        assert isinstance(error, Refused)
        seconds = error.retry_after_seconds
        headers = {} if seconds is None else {"Retry-After": str(seconds)}
        return Response(error.body, status_code=error.status, headers=headers, media_type="application/json")

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            if not options.drain_seconds or desk.hosted.draining:
                super().handle_exit(sig, frame)
                return
            # Whoever routes requests needs a moment to notice; until then they are answered, not cut off.
            desk.hosted.drain()
            threading.Timer(options.drain_seconds, super().handle_exit, (sig, frame)).start()

    repository = ModelRepository()
    repository.update(Answering())
    rest = RESTServer("kserve.model_server:app", Plane(model_registry=repository), Versions(repository), options.port)
    rest.create_application()
    app.add_exception_handler(Refused, refuse)
    door = Door.open(read_settings())
    bounded = BodyLimit(app, _MAX_BODY_BYTES)
    guarded = bounded if door is None else Gate(bounded, door)
    # kserve's own server always listens on every interface; ours listens where it is told.
    listener = socket.create_server((options.host, options.port))
    url = f"http://{options.host}:{listener.getsockname()[1]}"
    if options.json_logs:
        _LOG.info("listening on %s", url)
    else:
        sys.stderr.write(f"listening on {url}\n")
        sys.stderr.flush()
    # No limit to the last requests' time: whoever stops the process has one, and kills.
    Server(uvicorn.Config(guarded, log_config=None)).run(sockets=[listener])


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, body: bytes, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.retry_after_seconds = status, body, retry_after_seconds


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
            error = _error_body(
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
