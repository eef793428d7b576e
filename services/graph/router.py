"""Routes one request through a graph as KServe's router does.

Source: KServe `cmd/router/main.go` (v0.20 and later), whose behaviour the conformance vectors record.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.graph import gojson
from services.graph.content_type import JSON, content_type
from services.graph.gjson.search import exists
from services.graph.headers import Headers
from services.graph.spec import ROOT, Graph, Node, Step
from services.graph.transports import ServiceFailed, Transport

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the graph answers; no content type on an empty body."""

    status: int
    body: bytes
    content_type: str | None


@dataclass(frozen=True, slots=True)
class StepTiming:
    """How long one step took. A step that is a node includes its own steps and has no service."""

    node: str
    step: str
    service: str
    status: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status <= 299


class _NodeFailed(Exception):
    """A node has no answer at all; what is above it fails too, and the caller is told the cause."""

    def __init__(self, cause: str, *, status: int = 500) -> None:
        super().__init__(cause)
        self.status = status


class GraphExecutor:
    """Runs requests through one graph; several threads may run at once.

    Args:
        graph: A checked graph.
        transport: How services are reached; must know every service of the graph.
        on_step: Called after each step with its timing, from the thread that ran it.

    Raises:
        GraphInvalid: The transport does not know a service.
    """

    def __init__(
        self, graph: Graph, transport: Transport, *, on_step: Callable[[StepTiming], None] | None = None
    ) -> None:
        transport.require(graph.services())
        self._graph = graph
        self._transport = transport
        self._on_step = on_step

    def run(self, body: bytes, headers: Headers = ()) -> Reply:
        """Run one request and wait for its reply.

        Steps run on the calling thread, those of an Ensemble on threads of their own. Nothing is cancelled: when
        an Ensemble fails early, its other branches run on and their answers are dropped.

        Args:
            body: The request, usually JSON; passed on as it is.
            headers: Sent to every service beside its Content-Type.
        """
        try:
            answer = self._run_node(ROOT, body, headers)
        except _NodeFailed as failed:
            cause = gojson.encode(str(failed))
            return Reply(failed.status, b'{"error":"Failed to process request","cause":' + cause + b"}", JSON)
        return Reply(answer.status, answer.body, content_type(answer.body))

    def _run_node(self, name: str, request: bytes, headers: Headers) -> _Answer:
        node = self._graph.nodes[name]
        match node.router_type:
            case "Sequence":
                return self._run_sequence(name, node, request, headers)
            case "Ensemble":
                return self._run_ensemble(name, node, request, headers)
            case "Switch":
                position = _matching_step(node, request)
            case "Splitter":
                position = _drawn_step(node)
        return self._run_step(name, node, position, request, headers)

    def _run_sequence(self, name: str, node: Node, request: bytes, headers: Headers) -> _Answer:
        # A condition on the first step meets this empty body and fails the node, as in the router.
        answer = _Answer(200, b"")
        for position, step in enumerate(node.steps):
            if step.condition:
                if not gojson.is_json(answer.body):
                    raise _NodeFailed("invalid response")
                if not exists(answer.body, step.condition):
                    return _Answer(200, answer.body)
            message = answer.body if step.data == "$response" and position else request
            if step.map_predictions_to_instances:
                message = _predictions_as_instances(message)
            answer = self._run_step(name, node, position, message, headers)
            if step.dependency == "Hard" and not answer.succeeded:
                break
        return answer

    def _run_ensemble(self, name: str, node: Node, request: bytes, headers: Headers) -> _Answer:
        arrivals: queue.SimpleQueue[tuple[int, _Branch | BaseException]] = queue.SimpleQueue()

        def run_branch(position: int) -> None:
            try:
                arrivals.put((position, _branch(self._run_step(name, node, position, request, headers))))
            except BaseException as fault:
                # Raised again below, on the thread that waits.
                arrivals.put((position, fault))

        for position in range(len(node.steps)):
            # Daemons, because a branch whose answer no longer counts must not keep the process alive.
            threading.Thread(target=run_branch, args=(position,), daemon=True).start()
        branches: dict[int, _Branch] = {}
        merged: dict[str, gojson.Json] = {}
        for position, step in enumerate(node.steps):
            while position not in branches:
                arrived, branch = arrivals.get()
                if isinstance(branch, BaseException):
                    raise branch
                branches[arrived] = branch
            branch = branches[position]
            if step.dependency == "Hard" and not branch.answer.succeeded:
                return _Answer(branch.answer.status, _encoded(branch.content))
            merged[step.name or str(position)] = branch.content
        return _Answer(200, _encoded(merged))

    def _run_step(self, name: str, node: Node, position: int, request: bytes, headers: Headers) -> _Answer:
        step = node.steps[position]
        started_seconds = time.perf_counter()
        status = 500
        try:
            answer = self._answer_of(step, request, headers)
            status = answer.status
            return answer
        finally:
            elapsed_ms = (time.perf_counter() - started_seconds) * 1000
            self._report(StepTiming(name, step.name or str(position), step.service, status, elapsed_ms))

    def _answer_of(self, step: Step, request: bytes, headers: Headers) -> _Answer:
        if step.node_name:
            try:
                return self._run_node(step.node_name, request, headers)
            except _NodeFailed as failed:
                # Only at the root does a Switch without a match say 404.
                raise _NodeFailed(str(failed)) from failed
        try:
            return _Answer(*self._transport.call(step.service, request, headers))
        except ServiceFailed as failed:
            raise _NodeFailed(str(failed)) from failed

    def _report(self, timing: StepTiming) -> None:
        _log.info(
            "step node=%s step=%s status=%d milliseconds=%.1f",
            timing.node,
            timing.step,
            timing.status,
            timing.milliseconds,
        )
        if self._on_step is not None:
            self._on_step(timing)


@dataclass(frozen=True, slots=True)
class _Branch:
    """An Ensemble's branch: its answer, decoded to be merged."""

    answer: _Answer
    content: gojson.Json


def _branch(answer: _Answer) -> _Branch:
    content = _decoded(answer.body)
    if content is not None and not isinstance(content, dict):
        raise _NodeFailed("an Ensemble merges JSON objects; a step answered with another kind of value")
    return _Branch(answer, content)


def _matching_step(node: Node, request: bytes) -> int:
    if gojson.is_json(request):
        for position, step in enumerate(node.steps):
            if exists(request, step.condition):
                return position
    raise _NodeFailed("None of the routes matched with the switch condition", status=404)


def _drawn_step(node: Node) -> int:
    point = secrets.randbelow(100)
    for position, step in enumerate(node.steps):
        point -= step.weight or 0
        if point < 0:
            return position
    raise AssertionError("the weights of a checked Splitter sum to 100")


def _predictions_as_instances(message: bytes) -> bytes:
    """Turn a V1 response into the V1 request of the next model; anything else stays as it is."""
    try:
        content = gojson.decode(message)
    except gojson.NotJson:
        return message
    if not isinstance(content, dict) or "predictions" not in content:
        return message
    return _encoded({"instances": content["predictions"]})


def _decoded(body: bytes) -> gojson.Json:
    try:
        return gojson.decode(body)
    except gojson.NotJson as fault:
        raise _NodeFailed(str(fault)) from fault


def _encoded(content: gojson.Json) -> bytes:
    try:
        return gojson.encode(content)
    except gojson.NotJson as fault:
        raise _NodeFailed(str(fault)) from fault
