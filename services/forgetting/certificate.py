"""Certificate: what an erasure did, signed, with no name in it."""

import base64
from pathlib import Path

from pydantic import AwareDatetime

from services.contracts.errors import BadInput
from services.contracts.message import Message
from services.forgetting.journal import write_durably
from services.signing import SigningKey, public_path, read_public_key

_PURPOSE = b"whodid certificate of erasure\0"


class Certificate(Message):
    """One erasure, as it may be shown to anybody.

    Attributes:
        pseudonym: What stands where the name stood.
        finished_at: When nothing was left.
        counts: How many of each kind were erased or rewritten.
        scanned_stores: Where nothing was found afterwards.
        keys_to_destroy: Ids of old master keys that this installation cannot destroy itself; with them, backups
            from before could be read.
    """

    pseudonym: str
    finished_at: AwareDatetime
    counts: dict[str, int]
    scanned_stores: tuple[str, ...]
    keys_to_destroy: tuple[str, ...] = ()


class SignedCertificate(Message):
    """A certificate and who vouches for it.

    Attributes:
        certificate: What was done.
        key_id: Of the key that signed.
        signature: Ed25519 (RFC 8032) over the certificate's JSON, base64.
    """

    certificate: Certificate
    key_id: str
    signature: str


def write_certificate(folder: Path, certificate: Certificate, key: SigningKey) -> Path:
    """Sign it and put it on the disk."""
    signature = key.sign(_PURPOSE + certificate.to_json())
    signed = SignedCertificate(
        certificate=certificate, key_id=key.public.key_id, signature=base64.b64encode(signature).decode()
    )
    path = folder / f"{certificate.pseudonym}.json"
    write_durably(path, signed.model_dump_json(indent=2).encode() + b"\n")
    return path


def check_certificate(path: Path, signing_key: Path) -> Certificate:
    """Read a certificate and prove that this installation signed it.

    Raises:
        BadInput: It did not, or the certificate was changed.
    """
    signed = SignedCertificate.model_validate_json(path.read_bytes())
    public = read_public_key(public_path(signing_key))
    message = _PURPOSE + signed.certificate.to_json()
    if not public.verifies(base64.b64decode(signed.signature), message):
        raise BadInput(f"{path} was not signed by key {public.key_id[:16]}, or was changed since")
    return signed.certificate
