"""Endpoint: a service behind HTTP, as KServe serves models.

The only importer of kserve, and only when serving: an analysis in one process never loads it.
"""

import argparse
import asyncio
import json
import logging
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from services.access.door import Door
from services.access.gate import Gate
from services.body_limit import BodyLimit
from services.contracts.errors import WhodidError
from services.desk import Desk, Refused
from services.hosting import Hosted, Queue
from services.observation.logs import log_json
from services.observation.metrics import ServiceMetrics
from services.observation.traces import Tracing
from services.service import Load, Service, error_body
from services.settings import read_settings

_LOG = logging.getLogger(__name__)
_MAX_BODY_BYTES = 64 * 2**20


def serve(name: str, load: Load, *, workers: int = 1, arguments: Sequence[str] | None = None) -> None:
    """Answer `POST /v1/models/NAME:predict` until SIGTERM, then finish what is under way.

    Prints `listening on URL` on stderr once it accepts connections. Without `--stay` that is when it can answer, and
    a service that cannot be loaded exits with the error's code; with it the port is open at once, and
    `GET /v2/models/NAME/ready` says 503 and why until it can. `POST /v2/repository/models/NAME/load` takes up the
    version that is current by then, while requests go on.

    Args:
        name: The service's name.
        load: Makes it ready; see services.assembly.
        workers: How many requests are worked on side by side, unless the command line says otherwise.
        arguments: Of the command line; the process's own when None.
    """
    options = _parser(name, workers).parse_args(arguments)
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
    except WhodidError as error:
        _end(error)
    # Weights are read and compiled while kserve, which takes as long, is imported.
    loading = threading.Thread(target=_renew_quietly, args=(hosted,), daemon=True)
    loading.start()
    if options.metrics_port is not None:
        start_http_server(options.metrics_port, options.host, REGISTRY)
    desk = Desk(name, hosted, Queue(options.concurrency, options.queue), metrics, tracing)
    _listen(desk, options, loaded=None if options.stay else loading)


def _parser(name: str, workers: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--metrics-port", type=int, help="serves /metrics alone, for a network policy to tell apart")
    parser.add_argument("--concurrency", type=int, default=workers, help="requests worked on at once (%(default)s)")
    parser.add_argument("--queue", type=int, default=16, help="requests that may wait; the next is answered 503")
    parser.add_argument("--drain-seconds", type=float, default=0, help="unready, but answering, before it stops")
    parser.add_argument("--stay", action="store_true", help="stay up and say why when the model is refused")
    parser.add_argument("--json-logs", action="store_true", help="one JSON object a line, without personal data")
    return parser


def _renew_quietly(hosted: Hosted) -> None:
    try:
        hosted.renew()
    except WhodidError:
        return  # logged, and said on the readiness path, or by _require_loaded


def _require_loaded(hosted: Hosted, loading: threading.Thread) -> None:
    loading.join()
    try:
        hosted.take()
    except WhodidError as refusal:
        _end(refusal)


def _end(error: WhodidError) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    sys.exit(error.exit_code)


def _listen(desk: Desk, options: argparse.Namespace, *, loaded: threading.Thread | None) -> None:
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

    class Plane(DataPlane):  # type: ignore[misc]  # kserve ships no types
        async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
            # The flag tells a request from a probe: while it drains a service is unready and answers nevertheless.
            known: bool = await super().model_ready(model_name, disable_predictor_health_check)
            reason = None if disable_predictor_health_check else desk.hosted.why_not_ready()
            if reason is not None:
                raise Refused(503, error_body(f"{desk.name} is not ready: {reason}"))
            return known

    class Versions(ModelRepositoryExtension):  # type: ignore[misc]  # kserve ships no types
        async def load(self, model_name: str) -> None:
            await self._require(model_name)
            try:
                await asyncio.to_thread(desk.hosted.renew)
            except WhodidError as error:
                raise Refused(503, error_body(str(error))) from error

        async def unload(self, model_name: str) -> None:
            await self._require(model_name)
            raise Refused(405, error_body(f"{model_name} is not unloaded: stop the process, or load another version"))

        async def _require(self, model_name: str) -> None:
            if model_name != desk.name:
                raise Refused(404, error_body(f"no model {model_name!r} here, only {desk.name!r}"))

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
    if loaded is not None:
        _require_loaded(desk.hosted, loaded)
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
