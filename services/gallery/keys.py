"""Where master keys come from: a file of one's own beside the gallery, or the environment (a mounted secret, a KMS).

A master key seals nothing but other keys. The first key listed is the current one; those behind it still open.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.contracts.errors import BadInput, BadUsage
from services.gallery.sealing import KEY_BYTES, make_key, name_key


@dataclass(frozen=True, slots=True, repr=False)
class MasterKeys:
    """Master keys at one moment.

    Attributes:
        by_id: Key id to 32 bytes, the current one first.
        origin: Where they were read, for messages.
    """

    by_id: Mapping[str, bytes]
    origin: str

    @property
    def current(self) -> str:
        """Id of the key that seals."""
        return next(iter(self.by_id))

    def find(self, key_id: str) -> bytes:
        """The key called `key_id`.

        Raises:
            BadInput: It is not here.
        """
        if key_id not in self.by_id:
            raise BadInput(
                f"the gallery is sealed with key {key_id}, which {self.origin} does not hold: "
                "bring the key file back, or name it with WHODID_KEY_FILE, or the key itself with WHODID_KEY"
            )
        return self.by_id[key_id]


class KeyProvider(Protocol):
    """Hands out master keys."""

    def read(self) -> MasterKeys | None:
        """All keys, or None where there are none yet."""

    def add(self) -> MasterKeys:
        """Make a new key the current one, where keys can be made; the old ones stay."""

    def retire(self, key_id: str) -> bool:
        """Destroy a key; False where somebody else has to."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Keys in a file, one a line in base64, readable by its owner alone.

    Attributes:
        path: Made with the first key.
        shared: Whether other galleries may be sealed with it, so that no key in it may be destroyed.
    """

    path: Path
    shared: bool = False

    def read(self) -> MasterKeys | None:
        """All keys, or None where there is no file.

        Raises:
            BadInput: The file is not one of keys.
        """
        try:
            lines = self.path.read_text().split()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as fault:
            raise BadInput(f"cannot read the key file {self.path}: {fault}") from fault
        return parse_keys(lines, str(self.path))

    def add(self) -> MasterKeys:
        """Write a new key before the others, durably."""
        key = make_key()
        held = self.read()
        keys = MasterKeys({name_key(key): key, **(held.by_id if held else {})}, str(self.path))
        if held is None:
            return self._found(keys)
        self._write(keys, replace=True)
        return keys

    def retire(self, key_id: str) -> bool:
        """Overwrite the file without one key; False where another gallery may need it."""
        if self.shared:
            return False
        held = self.read()
        if held is not None and key_id in held.by_id and len(held.by_id) > 1:
            kept = {name: key for name, key in held.by_id.items() if name != key_id}
            size = self.path.stat().st_size
            with self.path.open("r+b") as old:  # the blocks the name pointed to do not keep the key either
                old_keys = old.fileno()
                self._write(MasterKeys(kept, held.origin), replace=True)
                os.pwrite(old_keys, bytes(size), 0)
                os.fsync(old_keys)
        return True

    def _found(self, keys: MasterKeys) -> MasterKeys:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(keys, replace=False)
        found = self.read()  # of two processes that begin at once, one key wins
        assert found is not None
        return found

    def _write(self, keys: MasterKeys, *, replace: bool) -> None:
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"".join(base64.b64encode(key) + b"\n" for key in keys.by_id.values()))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(draft, self.path)
            else:
                try:
                    os.link(draft, self.path)
                except FileExistsError:
                    return
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass(frozen=True, slots=True, repr=False)
class KeyText:
    """Keys handed over as text: base64, the current one first, separated by commas or blanks.

    Attributes:
        text: What `$WHODID_KEY` holds.
    """

    text: str

    def read(self) -> MasterKeys:
        """All keys.

        Raises:
            BadInput: A key is not 32 bytes in base64.
        """
        return parse_keys(self.text.replace(",", " ").split(), "WHODID_KEY")

    def add(self) -> MasterKeys:
        """The first key listed is taken for the new one.

        Raises:
            BadUsage: There is only one key.
        """
        keys = self.read()
        if len(keys.by_id) < 2:
            raise BadUsage("keys come from WHODID_KEY, which lists one: put the new key before it, as NEW,OLD")
        return keys

    def retire(self, key_id: str) -> bool:
        """Whoever keeps the keys has to destroy it."""
        return False


class NoKeys:
    """Of a gallery that does not exist."""

    def read(self) -> MasterKeys | None:
        """None: there are no keys."""
        return None

    def add(self) -> MasterKeys:
        """Never asked."""
        raise AssertionError("an empty gallery is not written to")

    def retire(self, _key_id: str) -> bool:
        """Nothing is left to destroy."""
        return True


def parse_keys(words: list[str], origin: str) -> MasterKeys:
    """Keys from base64.

    Raises:
        BadInput: There is none, or one is not 32 bytes.
    """
    keys = []
    for number, word in enumerate(words, start=1):
        try:
            key = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise BadInput(f"key {number} in {origin} is not {KEY_BYTES} bytes in base64: `openssl rand -base64 32`")
        keys.append(key)
    if not keys:
        raise BadInput(f"{origin} holds no key: bring back the one the gallery was sealed with")
    return MasterKeys({name_key(key): key for key in keys}, origin)


def find_provider(location: str, *, key: str | None = None, key_file: Path | None = None) -> KeyProvider:
    """The keys of the gallery at `location`.

    Args:
        location: Path or SQLAlchemy url.
        key: Keys as text; wins.
        key_file: Where the key file lies; beside the gallery, with the suffix `.key`, when None.

    Raises:
        BadUsage: The gallery is a url, beside which no file can lie, and no key is named.
    """
    if key:
        return KeyText(key)
    if key_file is not None:
        return KeyFile(key_file, shared=True)
    if "://" in location:
        raise BadUsage(f"gallery {location.split('://')[0]}://… needs a key: set WHODID_KEY or WHODID_KEY_FILE")
    path = Path(location)
    return KeyFile(path.with_name(path.name + ".key"))
