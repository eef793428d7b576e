"""Reader: spans of clips as small strips of pictures, decoded by seconds in worker processes and cached on disk."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.errors import BadInput, WhodidError
from services.perception.crop import cut_square
from services.perception.decode import decode

CACHE = Path("build/clips")
"""Where strips, and what is made of them, are kept from one command to the next."""

_TIME_ROUNDING_SECONDS = 0.001
# A worker is replaced after so many strips: what a codec leaks goes with it.
_STRIPS_A_WORKER = 200


class ReaderStalled(WhodidError):
    """A worker died, or took longer over one clip than is allowed."""


@dataclass(frozen=True, slots=True)
class StripRequest:
    """One span of a clip, and how small it is wanted.

    Attributes:
        path: The clip.
        start_seconds, end_seconds: Which part; None is the end of the clip.
        rate_hz: Pictures a second, on the grid of services.perception.decode.
        size_px: Side of the pictures.
        square_px: Left, top and side of a square to cut, in the clip's pixels; None is the whole picture, letterboxed.
    """

    path: Path
    start_seconds: float = 0.0
    end_seconds: float | None = None
    rate_hz: float = 10.0
    size_px: int = 128
    square_px: tuple[int, int, int] | None = None

    def key(self) -> str:
        """Names the strip: the request, and the file's size and time, so that a new file is read anew."""
        stat = self.path.stat()
        return hashlib.sha256(repr((asdict(self), stat.st_size, stat.st_mtime_ns)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Throughput:
    """What reading cost.

    Attributes:
        strips: In all.
        decoded: Not found in the cache.
        pictures: In all strips.
        seconds: Wall time.
    """

    strips: int
    decoded: int
    pictures: int
    seconds: float

    def __str__(self) -> str:
        rate = self.pictures / max(self.seconds, 1e-9)
        work = f"{self.strips} strips ({self.decoded} decoded), {self.pictures} pictures"
        return f"{work} in {self.seconds:.1f} s: {rate:.0f}/s"


def read_strip(request: StripRequest) -> NDArray[np.uint8]:
    """Decode one strip: (T, S, S, 3) uint8, a picture for every grid time of the span.

    Where the clip has fewer pictures than that the newest is shown again. Decoding begins at the key frame before.

    Raises:
        BadInput: The clip cannot be read, or has no picture there.
    """
    times, pictures = [], []
    with decode(
        request.path,
        from_seconds=request.start_seconds,
        to_seconds=request.end_seconds,
        at_rate_hz=request.rate_hz,
    ) as frames:
        for frame in frames:
            square = request.square_px or _letterbox(frame.width_px, frame.height_px)
            pictures.append(cut_square(frame.rgb, square, request.size_px))
            times.append(frame.pts_seconds)
        end_seconds = frames.end_seconds
    first = int(np.ceil((max(request.start_seconds, times[0]) - _TIME_ROUNDING_SECONDS) * request.rate_hz))
    last = max(first, int(np.ceil((end_seconds - _TIME_ROUNDING_SECONDS) * request.rate_hz)) - 1)
    grid_seconds = np.arange(first, last + 1) / request.rate_hz
    shown = np.searchsorted(times, grid_seconds + _TIME_ROUNDING_SECONDS, side="right") - 1
    strip: NDArray[np.uint8] = np.stack(pictures)[shown.clip(min=0)]
    return strip


class StripReader:
    """Reads many strips in worker processes; a context manager, which leaves no process behind.

    Attributes:
        throughput: Of the last `read`; None before its end.
    """

    def __init__(self, cache: Path, *, workers: int = 2, patience_seconds: float = 120.0) -> None:
        """Make nothing yet.

        Args:
            cache: Folder of strips, by what they were made from; may be deleted at any time.
            workers: Processes; started with the first strip that is not cached.
            patience_seconds: Longest wait for one strip.
        """
        self._cache, self._workers, self._patience_seconds = cache, workers, patience_seconds
        self._pool: ProcessPoolExecutor | None = None
        self.throughput: Throughput | None = None

    def __enter__(self) -> "StripReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, even one that hangs."""
        if self._pool is not None:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
                process.join()
            self._pool = None

    def read(self, requests: Sequence[StripRequest]) -> Iterator[NDArray[np.uint8]]:
        """Give strips in the order asked for, a few ahead of the caller.

        Raises:
            BadInput: A clip cannot be read; names it.
            ReaderStalled: A worker died or hangs; names the clip.
        """
        started, pictures, decoded = time.perf_counter(), 0, 0
        waiting: list[tuple[StripRequest, Path, Future[None] | None]] = []
        remaining = iter(requests)
        while True:
            while len(waiting) < 2 * self._workers and (request := next(remaining, None)) is not None:
                waiting.append(self._start(request))
            if not waiting:
                break
            request, path, future = waiting.pop(0)
            if future is not None:
                decoded += 1
                self._await(request, future)
            strip = np.load(path)
            pictures += len(strip)
            yield strip
        self.throughput = Throughput(len(requests), decoded, pictures, time.perf_counter() - started)

    def _start(self, request: StripRequest) -> tuple[StripRequest, Path, Future[None] | None]:
        try:
            path = self._cache / f"{request.key()}.npy"
        except OSError as error:
            raise BadInput(f"{request.path}: cannot be opened ({error.strerror}); check the path") from error
        if path.is_file():
            return request, path, None
        if self._pool is None:
            self._cache.mkdir(parents=True, exist_ok=True)
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=get_context("spawn"), max_tasks_per_child=_STRIPS_A_WORKER
            )
        try:
            return request, path, self._pool.submit(_store_strip, request, path)
        except BrokenProcessPool as error:
            raise self._died(request) from error

    def _await(self, request: StripRequest, future: "Future[None]") -> None:
        try:
            future.result(timeout=self._patience_seconds)
        except TimeoutError as error:
            self.close()
            raise ReaderStalled(
                f"{request.path}: no strip after {self._patience_seconds:g} s; leave the clip out or wait longer"
            ) from error
        except BrokenProcessPool as error:
            raise self._died(request) from error

    def _died(self, request: StripRequest) -> ReaderStalled:
        self.close()
        return ReaderStalled(f"{request.path}: a worker died near it; leave the clip out or use fewer workers")


def _store_strip(request: StripRequest, path: Path) -> None:
    """In a worker: decode, and write under the final name only when whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, read_strip(request))
    partial.replace(path)


def _letterbox(width_px: int, height_px: int) -> tuple[int, int, int]:
    side = max(width_px, height_px)
    return (width_px - side) // 2, (height_px - side) // 2, side
