"""A service: one verb on messages. Errors become statuses here, in one process and over HTTP alike.

The only importer of kserve, and only when serving: an analysis in one process never loads it.
"""

import argparse
import asyncio
import json
import logging
import socket
import sys
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from services.contracts.errors import WhodidError
from services.contracts.message import Message
from services.settings import Settings, read_settings

_LOG = logging.getLogger(__name__)
_MAX_BODY_BYTES = 64 * 2**20
RequestT = TypeVar("RequestT", bound=Message)


@dataclass(frozen=True, slots=True)
class Service(Generic[RequestT]):
    """A named verb: it takes one message and answers one.

    Attributes:
        name: The package's, InferenceService's and graph step's name.
        request: What it takes.
        verb: What it does; raises WhodidError for what the caller can mend.
        concurrency: How many requests run side by side; the rest wait.
    """

    name: str
    request: type[RequestT]
    verb: Callable[[RequestT], Message]
    concurrency: int = 1

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """HTTP status and JSON body for a request body: what the router would see."""
        try:
            return 200, self.verb(_parse(self.request, body)).to_json()
        except WhodidError as error:
            return error.http_status, _error_body(str(error))
        except ValidationError as error:
            return 400, _error_body(_describe(self.request, error))
        except Exception:
            incident = uuid.uuid4().hex[:12]
            _LOG.exception("incident %s in service %s", incident, self.name)
            return 500, _error_body(f"internal fault in {self.name}: incident {incident} in the service's log")


def _parse(request: type[RequestT], body: bytes) -> RequestT:
    return request.model_validate_json(body)


def _error_body(error: str) -> bytes:
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def _describe(request: type[Message], error: ValidationError) -> str:
    """Which fields are wrong and why, never what was in them."""
    faults = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()[:5]]
    return f"not a {request.__name__}: {'; '.join(faults)}"


def serve(name: str, load: Callable[[Settings], Service[Any]], arguments: Sequence[str] | None = None) -> None:
    """Load a service, then answer `POST /v1/models/NAME:predict` until SIGTERM finishes what is under way.

    Prints `listening on URL` on stderr once it accepts connections: an open port means it can answer.
    Exits with the error's code when the service cannot be loaded.

    Args:
        name: The service's name.
        load: Makes it ready; see services.assembly.
        arguments: `--host` and `--port`; the process's own when None.
    """
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    options = parser.parse_args(arguments)
    try:
        service = load(read_settings())
    except WhodidError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    _listen(service, options.host, options.port)


def _listen(service: Service[Any], host: str, port: int) -> None:
    sys.argv[1:] = []  # kserve parses the command line when it is imported
    import uvicorn
    from kserve import Model, ModelRepository
    from kserve.model_server import app
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.server import RESTServer
    from starlette.responses import Response

    class Answering(Model):  # type: ignore[misc]  # kserve ships no types
        def __init__(self) -> None:
            super().__init__(service.name)
            self.workers = ThreadPoolExecutor(service.concurrency, thread_name_prefix=service.name)
            self.ready = True

        async def predict(self, payload: object, headers: object = None) -> bytes:
            # kserve hands JSON over parsed, other content types as bytes.
            body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            status, answer = await asyncio.get_running_loop().run_in_executor(self.workers, service.answer, body)
            if status != 200:
                raise _Refused(status, answer)
            return answer

    async def refuse(_: object, error: Exception) -> Response:
        assert isinstance(error, _Refused)
        return Response(error.body, status_code=error.status, media_type="application/json")

    repository = ModelRepository()
    repository.update(Answering())
    rest = RESTServer(
        "kserve.model_server:app",
        DataPlane(model_registry=repository),
        ModelRepositoryExtension(model_registry=repository),
        http_port=port,
    )
    rest.create_application()
    app.add_exception_handler(_Refused, refuse)
    # kserve's own server always listens on every interface; ours listens where it is told.
    listener = socket.create_server((host, port))
    sys.stderr.write(f"listening on http://{host}:{listener.getsockname()[1]}\n")
    sys.stderr.flush()
    bounded = BodyLimit(app, _MAX_BODY_BYTES)
    uvicorn.Server(uvicorn.Config(bounded, log_config=None, timeout_graceful_shutdown=30)).run(sockets=[listener])


class _Refused(Exception):
    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body


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
