"""Sealing: authenticated encryption of what lies at rest, bound to the place where it lies.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce before each ciphertext. The place (which subject, row and
space) is authenticated with it, so a row copied over another one does not open.
"""

import hashlib
import hmac
import json
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class Altered(Exception):
    """The bytes are not the ones sealed at this place under this key."""


class Seal:
    """One key, ready to use.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"key of {len(key)} bytes: AES-256 takes {KEY_BYTES}")
        self._cipher = AESGCM(key)

    def close(self, content: bytes, *place: str) -> bytes:
        """Encrypt `content` for `place`; twice the same content gives different bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, _bind(place))

    def open(self, sealed: bytes, *place: str) -> bytes:
        """Give back what was sealed for `place`.

        Raises:
            Altered: Another key, another place, or changed bytes.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bind(place))
        except (InvalidTag, ValueError) as fault:
            raise Altered("/".join(place)) from fault


def make_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(KEY_BYTES)


def name_key(key: bytes) -> str:
    """Key id: tells keys apart, says nothing about them."""
    return hashlib.sha256(b"whodid key id\0" + key).hexdigest()[:16]


def index_text(key: bytes, text: str) -> str:
    """Keyed digest of a text, so that it can be looked up where it may not be read (HMAC-SHA256)."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _bind(place: tuple[str, ...]) -> bytes:
    # A list in JSON: no two places give the same bytes, whatever the parts contain.
    return json.dumps(["whodid", *place], ensure_ascii=False).encode()
