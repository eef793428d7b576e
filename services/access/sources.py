"""ClipSources: the folders and urls a server may read clips from. Everything else is refused, in the same words.

A clip's uri comes from whoever sends the request. Opened as it stands, it would lend them the server's eyes: its
files, its loopback, its cloud's metadata service, and every protocol fsspec can chain.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self
from urllib.parse import unquote, urlsplit

import fsspec

from services.access.fetch import HttpAddress, fetch, read_address
from services.contracts.errors import BadInput, BadUsage

_READ_BYTES = 1 << 20
_SHOWN_CHARACTERS = 200
# Stores whose uri names a bucket and a key: where they are is the server's own configuration, not the uri's.
_OBJECT_STORES = ("s3", "gs", "az", "abfs")


class UriRefused(BadInput):
    """The uri is not among those this server reads. Says neither whether anything is there, nor why."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri[:_SHOWN_CHARACTERS]!r} is not a clip this server may read; put the clip where it may "
            "(`whodid serve --clips`, $WHODID_CLIPS)"
        )


@dataclass(frozen=True, slots=True)
class Clip:
    """An opened clip.

    Attributes:
        path: Where it lies on this machine, links resolved; None when it comes from elsewhere.
        blocks: Its bytes, once.
    """

    path: Path | None
    blocks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class ClipSources:
    """Where clips may be read from.

    Attributes:
        folders: With all that lies beneath; absolute.
        addresses: Beginnings of http(s) urls.
        buckets: Beginnings of object-store urls, `s3://clips/`.
    """

    folders: tuple[Path, ...] = ()
    addresses: tuple[HttpAddress, ...] = ()
    buckets: tuple[str, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read an allow-list: folders, and url beginnings such as `https://clips.example.org/gate/`.

        Raises:
            BadUsage: An entry is neither.
        """
        folders, addresses, buckets = [], [], []
        for entry in entries:
            scheme = entry.partition("://")[0].lower() if "://" in entry else ""
            ended = entry if entry.endswith("/") else f"{entry}/"
            if scheme in ("", "file"):
                folders.append(Path(unquote(urlsplit(entry).path) if scheme else entry).expanduser().absolute())
            elif scheme in ("http", "https") and (address := read_address(ended)):
                addresses.append(address)
            elif scheme in _OBJECT_STORES and "::" not in entry and entry.count("/") >= 2:
                buckets.append(ended)
            else:
                raise BadUsage(f"{entry!r} is no place for clips: name a folder, or the beginning of an http(s) url")
        return cls(tuple(folders), tuple(addresses), tuple(buckets))

    @contextlib.contextmanager
    def open(self, uri: str) -> Iterator[Clip]:
        """Open what a uri names, if it may be read.

        Raises:
            UriRefused: It may not: another place, another scheme, a link or redirect that leads out.
            BadInput: It may, but is absent or cannot be read.
        """
        with contextlib.ExitStack() as stack:
            try:
                clip = self._find(uri, stack)
            except (OSError, ValueError, ImportError) as error:
                raise _unreadable(uri, error) from error
            yield Clip(clip.path, _reporting(clip.blocks, uri))

    def _find(self, uri: str, stack: contextlib.ExitStack) -> Clip:
        # What parsers and file systems read differently from one another is no part of an honest uri.
        if "\\" in uri or "::" in uri or any(character <= " " or character == "\x7f" for character in uri):
            raise UriRefused(uri)
        scheme = urlsplit(uri).scheme
        if scheme == "file":
            return self._open_file(uri, stack)
        if scheme in ("http", "https"):
            return Clip(None, self._fetch(uri, stack))
        if scheme in _OBJECT_STORES and any(uri.startswith(bucket) for bucket in self.buckets):
            return Clip(None, _blocks(stack.enter_context(fsspec.open(uri, "rb"))))
        raise UriRefused(uri)

    def _open_file(self, uri: str, stack: contextlib.ExitStack) -> Clip:
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or "\0" in path:
            raise UriRefused(uri)
        if not path.startswith("/") or ".." in path.split("/"):
            raise UriRefused(uri)
        real = Path(os.path.realpath(path))
        for folder in self.folders:
            root = Path(os.path.realpath(folder))
            if real.is_relative_to(root):
                return Clip(real, _blocks(stack.enter_context(_open_beneath(root, real, uri))))
        raise UriRefused(uri)

    def _fetch(self, uri: str, stack: contextlib.ExitStack) -> Iterator[bytes]:
        blocks = stack.enter_context(fetch(uri, self.addresses))
        if blocks is None:
            raise UriRefused(uri)
        return blocks


ANY_LOCAL_FILE = ClipSources(folders=(Path("/"),))
"""For an analysis in this process: its user could read the file anyway."""


def _open_beneath(root: Path, path: Path, uri: str) -> IO[bytes]:
    """Open a regular file by walking down from `root`: a link put in the way since `path` was resolved is refused."""
    *folders, name = path.relative_to(root).parts or (".",)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        # Not blocking, or a named pipe would hold the service until somebody writes to it.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UriRefused(uri)
    return os.fdopen(file, "rb")


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_READ_BYTES):
        yield block


def _reporting(blocks: Iterator[bytes], uri: str) -> Iterator[bytes]:
    try:
        yield from blocks
    except OSError as error:
        raise _unreadable(uri, error) from error


def _unreadable(uri: str, error: Exception) -> BadInput:
    return BadInput(f"{uri}: the clip cannot be read ({error}); put it where this service can read it")
