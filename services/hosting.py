"""Hosting: which version of a service answers, how the next takes its place, and how many requests may wait."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.contracts.errors import Busy, WhodidError

if TYPE_CHECKING:
    from services.service import Service

_LOADING = "its model is being loaded"
_DRAINING = "it is being stopped"
_LOADING_RETRY_SECONDS = 5
_MOST_RETRY_SECONDS = 60


class Hosted:
    """The version of a service that answers. Loading another beside it disturbs no request.

    Args:
        load: Makes the version that is current now ready, weights verified; raises WhodidError when it must not serve.
    """

    def __init__(self, load: "Callable[[], Service[Any]]") -> None:
        self._load = load
        self._renewing = threading.Lock()
        self._service: Service[Any] | None = None
        self._refusal: WhodidError | None = None
        self.draining = False

    def renew(self) -> "Service[Any]":
        """Load the current version and run it once; requests that come after it answers go to it.

        Those under way finish on the version they began with. When the new one is refused the old one goes on.

        Raises:
            WhodidError: Why the new version must not serve.
        """
        with self._renewing:
            try:
                service = self._load()
                service.warm_up()
            except WhodidError as refusal:
                self._refusal = refusal
                raise
            self._service, self._refusal = service, None
            return service

    def drain(self) -> None:
        """Say from now on that no more requests should be sent; those that come are answered all the same."""
        self.draining = True

    def take(self) -> "Service[Any]":
        """The version to answer a request with.

        Raises:
            Busy: There is none yet.
            WhodidError: There is none, for a reason that waiting does not mend.
        """
        service = self._service
        if service is not None:
            return service
        if self._refusal is not None:
            raise self._refusal
        raise Busy(_LOADING, retry_after_seconds=_LOADING_RETRY_SECONDS)

    def why_not_ready(self) -> str | None:
        """Why no requests should be sent here; None when they should."""
        if self.draining:
            return _DRAINING
        if self._service is not None:
            return None
        return str(self._refusal) if self._refusal is not None else _LOADING


@dataclass(slots=True)
class Queue:
    """Requests inside a service: so many are worked on, so many may wait, and the next is turned away.

    For one thread, that of the event loop.

    Attributes:
        workers: How many are worked on side by side.
        most_waiting: How many may wait beside them.
    """

    workers: int
    most_waiting: int
    _inside: int = 0
    _mean_seconds: float = field(default=1.0)

    @property
    def running(self) -> int:
        """How many are worked on."""
        return min(self._inside, self.workers)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._inside - self.running

    def enter(self) -> None:
        """Let a request in.

        Raises:
            Busy: Too many wait already; says when there should be room.
        """
        if self._inside >= self.workers + self.most_waiting:
            seconds = round(self._mean_seconds * (self.most_waiting + 1) / self.workers)
            raise Busy(
                f"{self.waiting} requests are waiting already",
                retry_after_seconds=min(max(seconds, 1), _MOST_RETRY_SECONDS),
            )
        self._inside += 1

    def leave(self, seconds: float) -> None:
        """A request is done, after so long on a worker."""
        self._inside -= 1
        self._mean_seconds += (seconds - self._mean_seconds) / 8
