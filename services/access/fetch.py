"""Fetch: a clip over HTTP, from listed addresses only; redirects and resolved names are checked like the url."""

import contextlib
import ipaddress
import posixpath
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from services.access.addresses import IpAddress, is_reachable, resolve

Resolve = Callable[[str, int], Sequence[IpAddress]]
"""Addresses of a host and port; raises OSError."""

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+:[0-9a-f:.]*")
_REDIRECTS = 5
_SILENCE_SECONDS = 30.0
_LONGEST_SECONDS = 1800.0
_LARGEST_BYTES = 8 * 2**30


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An http(s) url taken apart, so that the url that was checked is the url that is asked.

    Attributes:
        scheme: http or https.
        host: Lower case, without brackets.
        port: Always given.
        path: Begins with a slash; as sent.
        query: Without its question mark.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    def covers(self, other: Self) -> bool:
        """Whether `other` lies beneath this address."""
        same_server = (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
        return same_server and other.path.startswith(self.path)

    def literal(self) -> IpAddress | None:
        """The host, where it is an address and not a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def at(self, address: IpAddress) -> str:
        """The url with the host replaced by one of its addresses."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.path}{'?' if self.query else ''}{self.query}"

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def read_address(url: str) -> HttpAddress | None:
    """Take a url apart; None for one that is odd in any way: a user, a fragment, steps up, a strange host."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    host = parts.hostname or ""
    path = parts.path or "/"
    plain = unquote(unquote(path))
    climbs = ".." in plain.split("/") or "\\" in plain or posixpath.normpath(plain).startswith("//")
    odd = "@" in parts.netloc or parts.fragment or not url.isascii() or climbs
    if parts.scheme not in ("http", "https") or odd or not _HOST.fullmatch(host):
        return None
    return HttpAddress(parts.scheme, host, port, path, parts.query)


@contextlib.contextmanager
def fetch(
    url: str,
    allowed: Sequence[HttpAddress],
    *,
    resolve: Resolve = resolve,
    largest_bytes: int = _LARGEST_BYTES,
    longest_seconds: float = _LONGEST_SECONDS,
) -> Iterator[Iterator[bytes] | None]:
    """Ask for a url and stream its body; None where the url, or one it redirects to, is not allowed.

    The connection goes to the very address that was checked: a name that resolves to another one a moment later
    changes nothing. No proxy, no cookies, no decompression.

    Args:
        url: Of the clip.
        allowed: Beginnings of urls.
        resolve: Finds a host's addresses.
        largest_bytes: A longer body is cut off with an error.
        longest_seconds: A slower one, too.

    Raises:
        OSError: The server is not reached, answers otherwise than with 200, or breaks a limit.
    """
    deadline = time.monotonic() + longest_seconds
    with httpx.Client(trust_env=False, follow_redirects=False, timeout=_SILENCE_SECONDS) as client:
        for _ in range(_REDIRECTS + 1):
            address = _allowed_address(url, allowed, resolve)
            if address is None:
                yield None
                return
            target, found = address
            with _answers(client, target, found) as response:
                if not response.is_redirect:
                    if response.status_code != 200:
                        raise OSError(f"the server answered {response.status_code}")
                    yield _limited(response, largest_bytes, deadline)
                    return
                url = urljoin(url, response.headers["location"])
    raise OSError(f"more than {_REDIRECTS} redirects")


def _allowed_address(
    url: str, allowed: Sequence[HttpAddress], resolve: Resolve
) -> tuple[HttpAddress, IpAddress] | None:
    target = read_address(url)
    if target is None or not any(beginning.covers(target) for beginning in allowed):
        return None
    # An operator who lists an address, not a name, means that machine.
    named_outright = target.literal() is not None
    found = resolve(target.host, target.port)
    if not found or not all(is_reachable(address, named_outright=named_outright) for address in found):
        return None
    return target, found[0]


@contextlib.contextmanager
def _answers(client: httpx.Client, target: HttpAddress, address: IpAddress) -> Iterator[httpx.Response]:
    try:
        with client.stream(
            "GET",
            target.at(address),
            headers={"Host": target.authority, "Accept-Encoding": "identity"},
            extensions={"sni_hostname": target.host},
        ) as response:
            yield response
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(f"no answer from {target.authority}: {type(error).__name__}") from error


def _limited(response: httpx.Response, largest_bytes: int, deadline: float) -> Iterator[bytes]:
    total = 0
    try:
        for block in response.iter_raw():
            total += len(block)
            if total > largest_bytes:
                raise OSError(f"it is larger than {largest_bytes} bytes")
            if time.monotonic() > deadline:
                raise OSError("it arrives too slowly")
            yield block
    except httpx.HTTPError as error:
        raise OSError(f"cut off: {type(error).__name__}") from error
