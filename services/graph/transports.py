"""How a step reaches its service: over HTTP, or as a function in this process."""

import time
from collections.abc import Callable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Protocol, Self

import httpx

from services.graph.headers import Headers
from services.graph.spec import GraphInvalid

# Go stops at the tenth redirect, httpx after the number it is given.
_REDIRECTS = 9
# Shorter than the 5 s after which uvicorn, under every KServe server, closes an idle connection: a request never
# goes out on a connection that is being closed.
_KEEPALIVE_SECONDS = 4.0


class ServiceFailed(Exception):
    """A service gave no answer: unreachable, too slow, or cut off in the middle."""


class Transport(Protocol):
    """Carries one message to a service and its answer back. Safe to call from several threads."""

    def require(self, services: frozenset[str]) -> None:
        """Check before anything runs that every service can be called.

        Raises:
            GraphInvalid: One cannot.
        """

    def call(self, service: str, body: bytes, headers: Headers) -> tuple[int, bytes]:
        """Send a body to a service; answer with the status and body of its response, whatever the status.

        Raises:
            ServiceFailed: There is no response.
        """


class LocalServices:
    """Services as functions in this process, by the names (or URLs) the graph calls them.

    A function takes the message and answers (HTTP status, body). Headers and `routerTimeouts` do not apply; an
    exception is a fault of the function and passes through to the caller.
    """

    def __init__(self, functions: Mapping[str, Callable[[bytes], tuple[int, bytes]]]) -> None:
        self._functions = dict(functions)

    def require(self, services: frozenset[str]) -> None:
        """Check that there is a function for every service."""
        missing = sorted(services - self._functions.keys())
        if missing:
            raise GraphInvalid(f"no function for {', '.join(missing)}; there are: {', '.join(self._functions)}")

    def call(self, service: str, body: bytes, headers: Headers) -> tuple[int, bytes]:
        """Call the function with the body."""
        return self._functions[service](body)


class HttpServices:
    """Services over HTTP. Connections are kept alive; close it (or use it as a context) when done.

    Args:
        urls: Where the services named by `serviceName` are; `serviceUrl` is called as it stands.
        timeout_seconds: How long a call may take, checked whenever bytes arrive; zero or less waits forever.
    """

    def __init__(self, urls: Mapping[str, str], *, timeout_seconds: float = 0.0) -> None:
        self._urls = dict(urls)
        self._timeout_seconds = timeout_seconds if timeout_seconds > 0 else None
        self._client = httpx.Client(
            # No request may carry what a service set for another one.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=True,
            headers={"Accept-Encoding": "gzip", "User-Agent": "whodid-graph"},
            limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
            max_redirects=_REDIRECTS,
            timeout=self._timeout_seconds,
            # A proxy for the outside world has no business between a graph and its services.
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def require(self, services: frozenset[str]) -> None:
        """Check that every service has a URL."""
        for service in sorted(services):
            try:
                url = httpx.URL(self._urls.get(service, service))
            except httpx.InvalidURL as fault:
                raise GraphInvalid(f"service {service!r} has an invalid URL: {fault}") from fault
            if url.scheme not in ("http", "https") or not url.host:
                raise GraphInvalid(f"service {service!r} has no http:// URL; give it one: --service {service}=URL")

    def call(self, service: str, body: bytes, headers: Headers) -> tuple[int, bytes]:
        """POST the body as JSON (or as the propagated Content-Type says), following redirects as Go does."""
        url = self._urls.get(service, service)
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if not any(name == b"Content-Type" and value for name, value in sent):
            sent.append((b"Content-Type", b"application/json"))
        started_seconds = time.monotonic()
        try:
            with self._client.stream("POST", url, content=body, headers=sent) as response:
                chunks = []
                for chunk in response.iter_bytes():
                    self._check_deadline(started_seconds)
                    chunks.append(chunk)
                self._check_deadline(started_seconds)
                return response.status_code, b"".join(chunks)
        except httpx.TimeoutException as fault:
            raise ServiceFailed(f"POST {url}: no answer within {self._timeout_seconds} s") from fault
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise ServiceFailed(f"POST {url}: {fault or type(fault).__name__}") from fault

    def _check_deadline(self, started_seconds: float) -> None:
        if self._timeout_seconds and time.monotonic() - started_seconds > self._timeout_seconds:
            raise httpx.ReadTimeout("the answer came too slowly")
