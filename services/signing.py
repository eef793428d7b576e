"""Ed25519 keys of this machine: what is signed here can be verified offline by whoever has the public key."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from services.contracts.errors import BadInput, BadUsage, MissingModel


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Verifies; safe to hand out.

    Attributes:
        raw: The key's 32 bytes (RFC 8032).
    """

    raw: bytes

    @property
    def key_id(self) -> str:
        """Names the key: sha256 of its 32 bytes, in hex."""
        return hashlib.sha256(self.raw).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the private half signed exactly this message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> bytes:
        """SubjectPublicKeyInfo, as openssl writes it."""
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """Signs; never leaves this machine.

    Attributes:
        seed: The private key's 32 bytes (RFC 8032).
    """

    seed: bytes

    @property
    def public(self) -> PublicKey:
        """The half that verifies."""
        key = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same message gives the same ones."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)


def open_signing_key(path: Path) -> SigningKey:
    """Read this machine's key, making it (readable by its owner alone) when there is none.

    The public half is written beside it, with the suffix `.pub`.

    Raises:
        BadInput: The file is not an unencrypted Ed25519 key in PEM.
        BadUsage: It cannot be read or written.
    """
    try:
        if not path.exists():
            _make_key(path)
        return _parse_private(path)
    except OSError as fault:
        raise BadUsage(f"cannot use the signing key {path}: {fault.strerror}; set WHODID_SIGNING_KEY") from fault


def read_public_key(path: Path) -> PublicKey:
    """Read a public key in PEM.

    Raises:
        MissingModel: There is no such file.
        BadInput: It is not an Ed25519 key.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        raise MissingModel(f"no public key at {path}: copy it from the machine that signed (its .pub file)") from None
    except ValueError as fault:
        raise BadInput(f"{path} is not a public key in PEM: {fault}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{path} is a {type(key).__name__}; expected Ed25519")
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def public_path(path: Path) -> Path:
    """Where the public half of the key at `path` lies."""
    return path.with_name(path.name + ".pub")


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Written whole under another name first: of two processes that start together one key wins, never half a one.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    public_path(path).write_bytes(_parse_private(path).public.to_pem())


def _parse_private(path: Path) -> SigningKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as fault:
        raise BadInput(f"{path} is not an unencrypted private key in PEM: {fault}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path} is a {type(key).__name__}; expected Ed25519")
    return SigningKey(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
