"""Service: one verb on messages. Errors become statuses here, in one process and over HTTP alike."""

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from services.contracts.card import ModelCard
from services.contracts.errors import Busy, WhodidError
from services.contracts.message import Message
from services.observation.metrics import ServiceMetrics
from services.settings import Settings

_LOG = logging.getLogger(__name__)
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
            return refuse(error)
        except ValidationError as error:
            return 400, error_body(_describe(self.request, error))
        except Exception:
            incident = uuid.uuid4().hex[:12]
            _LOG.exception("incident %s in service %s", incident, self.name, extra={"incident": incident})
            return 500, error_body(f"internal fault in {self.name}: incident {incident} in the service's log")


def _parse(request: type[RequestT], body: bytes) -> RequestT:
    return request.model_validate_json(body)


def error_body(error: str) -> bytes:
    """The JSON body of an answer that says what is wrong."""
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def refuse(error: WhodidError) -> tuple[int, bytes]:
    """HTTP status and JSON body for an error the caller can do something about."""
    if not isinstance(error, Busy):
        return error.http_status, error_body(str(error))
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
