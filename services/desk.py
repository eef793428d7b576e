"""Desk: where requests to a service come in, are let in or turned away, answered, counted and logged."""

import asyncio
import contextvars
import logging
import re
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.contracts.errors import Busy, WhodidError
from services.contracts.message import Message
from services.hosting import Hosted, Queue
from services.observation.clips import clip_of
from services.observation.logs import request_context
from services.observation.metrics import ServiceMetrics
from services.observation.traces import Tracing
from services.service import refuse

_LOG = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, body: bytes, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.retry_after_seconds = status, body, retry_after_seconds


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
            raise Refused(*refuse(busy), retry_after_seconds=busy.retry_after_seconds) from busy
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
                status, answer = refuse(error)
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
