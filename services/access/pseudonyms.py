"""Pseudonyms: stand-ins for names in a log that cannot be changed, and the keys that can be destroyed.

A subject's pseudonym is an HMAC under a random key of that subject's own; free text is encrypted under a key of its
own. The log holds no name. Destroying the key leaves the log whole and the name beyond recovery, even by guessing.

Source: crypto-shredding, NIST SP 800-88r1 section 2.6 (cryptographic erase).
"""

import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_PSEUDONYM_BYTES = 16
# Each key encrypts one text, so the nonce need not differ.
_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class SealedText:
    """Text that can be read for as long as its key is there.

    Attributes:
        key_id: Names the key.
        ciphertext: AES-256-GCM, hex.
    """

    key_id: str
    ciphertext: str


class Pseudonyms:
    """The keys on disk, in a SQLite file readable by its owner alone; made at first use.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, subject_id: str, *, keep: bool = True) -> str:
        """A subject's pseudonym.

        Args:
            subject_id: Whose.
            keep: Make a key for who has none. Else such a name gets a pseudonym that nobody can tell again: asking
                after somebody forgotten must not bring their name back.
        """
        if not keep and not self._path.exists():
            return secrets.token_hex(_PSEUDONYM_BYTES)
        with self._open() as keys:
            if keep:
                made = (subject_id, secrets.token_bytes(_KEY_BYTES))
                keys.execute("INSERT OR IGNORE INTO subjects VALUES (?, ?)", made)
            row = keys.execute("SELECT key FROM subjects WHERE subject_id = ?", (subject_id,)).fetchone()
        return secrets.token_hex(_PSEUDONYM_BYTES) if row is None else _pseudonym(subject_id, row[0])

    def names(self) -> dict[str, str]:
        """Name by pseudonym, of everybody not forgotten."""
        if not self._path.exists():
            return {}
        with self._open() as keys:
            rows = keys.execute("SELECT subject_id, key FROM subjects").fetchall()
        return {_pseudonym(subject_id, key): subject_id for subject_id, key in rows}

    def seal(self, text: str) -> SealedText:
        """Encrypt a text under a new key."""
        key_id, key = secrets.token_hex(8), secrets.token_bytes(_KEY_BYTES)
        with self._open() as keys:
            keys.execute("INSERT INTO texts VALUES (?, ?)", (key_id, key))
        return SealedText(key_id, AESGCM(key).encrypt(_NONCE, text.encode(), key_id.encode()).hex())

    def unseal(self, sealed: SealedText) -> str | None:
        """The text; None once its key is destroyed, or where it is not what was sealed."""
        if not self._path.exists():
            return None
        with self._open() as keys:
            row = keys.execute("SELECT key FROM texts WHERE key_id = ?", (sealed.key_id,)).fetchone()
        if row is None:
            return None
        try:
            return AESGCM(row[0]).decrypt(_NONCE, bytes.fromhex(sealed.ciphertext), sealed.key_id.encode()).decode()
        except (InvalidTag, ValueError):
            return None

    def forget_texts(self, key_ids: list[str]) -> None:
        """Destroy the keys of texts."""
        with self._open() as keys:
            keys.executemany("DELETE FROM texts WHERE key_id = ?", [(key_id,) for key_id in key_ids])

    def forget_subject(self, subject_id: str) -> bool:
        """Destroy a subject's key.

        Returns:
            Whether there was one.
        """
        if not self._path.exists():
            return False
        with self._open() as keys:
            return keys.execute("DELETE FROM subjects WHERE subject_id = ?", (subject_id,)).rowcount > 0

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Deleted rows are overwritten, and no journal outlives it."""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                connection.execute("CREATE TABLE IF NOT EXISTS subjects (subject_id TEXT PRIMARY KEY, key BLOB)")
                connection.execute("CREATE TABLE IF NOT EXISTS texts (key_id TEXT PRIMARY KEY, key BLOB)")
                yield connection
        finally:
            connection.close()


def _pseudonym(subject_id: str, key: bytes) -> str:
    return hmac.digest(key, subject_id.encode(), "sha256")[:_PSEUDONYM_BYTES].hex()
