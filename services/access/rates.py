"""Rates: how often somebody may ask. A token bucket each, in this process's memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

# Buckets of those who asked longest ago make room: names are many, memory is not.
_MOST_NAMES = 10_000


class RateLimit:
    """A bucket of `burst` requests for every name, refilled at `per_minute`. Threads may share it.

    Args:
        per_minute: How many in the long run.
        burst: How many at once.
        clock: Seconds, growing.
    """

    def __init__(self, per_minute: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_minute / 60, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """Take one request out of a name's bucket.

        Returns:
            0 when there was one; else after how many seconds there will be.
        """
        now = self._clock()
        with self._lock:
            left, since = self._buckets.pop(name, (float(self._burst), now))
            left = min(float(self._burst), left + (now - since) * self._per_second)
            granted = left >= 1
            self._buckets[name] = (left - granted, now)
            if len(self._buckets) > _MOST_NAMES:
                self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - left) / self._per_second
