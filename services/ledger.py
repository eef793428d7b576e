"""Ledger: an append-only JSONL file in which nothing can be changed, moved or cut off unnoticed.

Every line names the digest of the line before it and carries a signature, so a changed, inserted or reordered line
breaks the chain. A chain alone cannot tell that its end is missing: `<ledger>.head` holds the signed number of lines,
bytes and the last digest. Whoever could bring back an old head together with an old ledger still could cut the end
off; against that, keep a head elsewhere (a commit message, another machine) and hand it to `read` as a witness.

One line, keys sorted, no spaces: {"at", "body", "previous", "sequence", "signature"}.
Source: Crosby & Wallach 2009, "Efficient Data Structures for Tamper-Evident Logging" (hash chain, signed head).
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from services.contracts.errors import BadInput
from services.signing import PublicKey, SigningKey

GENESIS = "0" * 64
_ENTRY, _HEAD = b"whodid ledger entry\0", b"whodid ledger head\0"


class BrokenLedger(BadInput):
    """The ledger is not what was written; says which line and how."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    Attributes:
        sequence: 1 for the first.
        at: When it was written, in UTC.
        body: What was recorded; JSON values only.
        previous: Digest of the line before; GENESIS for the first.
        sha256: Digest of this line.
    """

    sequence: int
    at: datetime
    body: Mapping[str, Any]
    previous: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger ends.

    Attributes:
        entries: How many lines it has.
        size_bytes: How many bytes they are.
        sha256: Digest of the last one; GENESIS of none.
    """

    entries: int = 0
    size_bytes: int = 0
    sha256: str = GENESIS


class Ledger:
    """A ledger on disk. Nothing is made until something is appended.

    Args:
        path: The JSONL file; its head lies beside it.
        public: Whose signatures count.
    """

    def __init__(self, path: Path, public: PublicKey) -> None:
        self.path, self._public = path, public

    @property
    def head_path(self) -> Path:
        """Where the signed end is kept."""
        return self.path.with_name(self.path.name + ".head")

    def append(self, body: Mapping[str, Any], key: SigningKey, *, at: datetime | None = None) -> Entry:
        """Add one line; once this returns it is on the disk.

        Safe from several processes at once. Costs the same at any length: the end is checked, not the whole.

        Args:
            body: What to record; JSON values only.
            key: Signs; its public half is this ledger's.
            at: When it happened; now when None. No earlier than the last line.

        Raises:
            BrokenLedger: The end is not what the head says.
        """
        if key.public != self._public:
            raise BadInput(f"{self.path} is signed by key {self._public.key_id[:12]}, not {key.public.key_id[:12]}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as file:
            if not self.head_path.exists() and os.fstat(file.fileno()).st_size == 0:
                self._write_head(Head(), key)
            head, last_at = self._recover(file)
            moment = max((at or datetime.now(UTC)).astimezone(UTC), last_at)
            record = {
                "at": moment.isoformat(timespec="microseconds"),
                "body": dict(body),
                "previous": head.sha256,
                "sequence": head.entries + 1,
            }
            signature = key.sign(_ENTRY + _canonical(record)).hex()
            line = _canonical({**record, "signature": signature})
            file.seek(head.size_bytes)
            file.truncate()
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
            entry = self._parse(line, head)
            self._write_head(_after(head, entry, line), key)
            return entry

    def read(self, *, witness: Head | None = None) -> list[Entry]:
        """Every line, once the whole chain, all signatures and the end are proved.

        Args:
            witness: An end seen earlier, kept elsewhere: the ledger must contain it.

        Raises:
            BrokenLedger: Which line is not what was written.
        """
        # The head first: lines that another process appends meanwhile lie beyond it.
        signed = self.read_head()
        entries: list[Entry] = []
        head = Head()
        ends = {head}
        for line in _read_lines(self.path):
            entry = self._parse(line, head)
            head = _after(head, entry, line)
            entries.append(entry)
            ends.add(head)
        for end, name in ((signed, str(self.head_path)), (witness, "the witness")):
            if end is not None and end not in ends:
                raise BrokenLedger(
                    f"{self.path} has {head.entries} lines and {name} says {end.entries}, ending in "
                    f"{end.sha256[:12]}: lines were cut off or replaced; restore it from a copy"
                )
        return entries

    def read_head(self) -> Head:
        """The signed end.

        Raises:
            BrokenLedger: It is absent though there are lines, or its signature is not by this ledger's key.
        """
        try:
            record = json.loads(self.head_path.read_bytes())
            head = Head(record["entries"], record["size_bytes"], record["sha256"])
            if self.head_path.read_bytes() != _canonical(record) + b"\n":
                raise ValueError("not canonical")
            signature = bytes.fromhex(record["signature"])
        except FileNotFoundError:
            # The first head is written before the first line.
            if next(_read_lines(self.path), None) is not None:
                raise BrokenLedger(f"{self.head_path} is gone: the end of {self.path} cannot be proved") from None
            return Head()
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            raise BrokenLedger(f"{self.head_path} is not a ledger's head ({fault}); restore it from a copy") from None
        if not self._public.verifies(signature, _HEAD + _canonical(_describe(head))):
            raise BrokenLedger(f"{self.head_path} is not signed by key {self._public.key_id[:12]}")
        return head

    def _parse(self, line: bytes, before: Head) -> Entry:
        """One line after `before`."""
        where = f"{self.path} line {before.entries + 1}"
        try:
            record = json.loads(line)
            signature = bytes.fromhex(record.pop("signature"))
            entry = Entry(
                record["sequence"],
                datetime.fromisoformat(record["at"]),
                record["body"],
                record["previous"],
                hashlib.sha256(line).hexdigest(),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise BrokenLedger(f"{where}: not a ledger entry; restore it from a copy") from None
        if (entry.sequence, entry.previous) != (before.entries + 1, before.sha256):
            raise BrokenLedger(f"{where}: it does not follow the line before it: changed, moved or taken out")
        # Other spellings of the same value would have another digest, but are no line this class writes.
        if line != _canonical({**record, "signature": signature.hex()}):
            raise BrokenLedger(f"{where}: changed after it was written")
        if not self._public.verifies(signature, _ENTRY + _canonical(record)):
            raise BrokenLedger(f"{where}: changed, or not signed by key {self._public.key_id[:12]}")
        return entry

    def _recover(self, file: IO[bytes]) -> tuple[Head, datetime]:
        """The true end, and when its line was written.

        Lines beyond the signed head are a crash's: whole ones are kept, a torn one is dropped by the next write.
        """
        head = self.read_head()
        if os.fstat(file.fileno()).st_size < head.size_bytes:
            raise BrokenLedger(f"{self.path} is shorter than {self.head_path} says: lines were cut off")
        last_at = self._last_at(file, head)
        for line in _read_lines(self.path, from_byte=head.size_bytes):
            entry = self._parse(line, head)
            head, last_at = _after(head, entry, line), entry.at
        return head, last_at

    def _last_at(self, file: IO[bytes], head: Head) -> datetime:
        if head.entries == 0:
            return datetime.min.replace(tzinfo=UTC)
        start = head.size_bytes
        window = b""
        while start > 0 and b"\n" not in window[:-1]:
            step = min(4096, start)
            start -= step
            file.seek(start)
            window = file.read(step) + window
        line = window[:-1].rpartition(b"\n")[2]
        if hashlib.sha256(line).hexdigest() != head.sha256:
            raise BrokenLedger(f"{self.path} line {head.entries}: not the line {self.head_path} names")
        return datetime.fromisoformat(json.loads(line)["at"])

    def _write_head(self, head: Head, key: SigningKey) -> None:
        record = _describe(head)
        record["signature"] = key.sign(_HEAD + _canonical(record)).hex()
        draft = self.head_path.with_name(self.head_path.name + ".new")
        with draft.open("wb") as file:
            file.write(_canonical(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.head_path)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def _read_lines(path: Path, *, from_byte: int = 0) -> Iterator[bytes]:
    """Lines without their newline. What follows the last newline is a write that a crash cut short."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(from_byte)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line[:-1]


def _after(head: Head, entry: Entry, line: bytes) -> Head:
    return Head(entry.sequence, head.size_bytes + len(line) + 1, entry.sha256)


def _describe(head: Head) -> dict[str, Any]:
    return {"entries": head.entries, "sha256": head.sha256, "size_bytes": head.size_bytes}


def _canonical(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
