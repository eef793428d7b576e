"""AuditLog: every look-up, enrolment, export and change: who, why, what was matched, against which gallery.

Hash-chained and signed (services.ledger). No embedding and no name of a subject ever enters it: see
services.access.pseudonyms for what stands in their place and how a subject is forgotten without breaking the chain.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from services.access.caller import Caller
from services.access.pseudonyms import Pseudonyms, SealedText
from services.contracts.errors import BadInput, BadUsage, WhodidError
from services.ledger import Head, Ledger
from services.settings import Settings
from services.signing import open_signing_key, public_path, read_public_key

Verb = Literal["lookup", "search", "enrol", "export", "change", "forget", "propose", "confirm", "withdraw"]

# What is done to somebody who is there. A name asked after may be anybody's, or a forgotten one's.
_KNOWING: frozenset[Verb] = frozenset({"lookup", "enrol", "export", "propose"})


class AuditFailed(WhodidError):
    """What cannot be recorded is not done."""

    http_status = 503


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log, for those who may read it.

    Attributes:
        sequence: 1 for the first.
        at: When, in UTC.
        verb: What was done.
        who: Name of the caller.
        why: The purpose they stated; None once it is forgotten.
        subjects: Who was matched, named or changed: names, or `forgotten:` and a pseudonym.
        facts: Ids, digests and counts: clip_id, camera_id, gallery, outcome.
    """

    sequence: int
    at: datetime
    verb: str
    who: str
    why: str | None
    subjects: tuple[str, ...]
    facts: dict[str, Any]


class AuditLog:
    """The log of one installation.

    Args:
        path: The ledger's file; the keys of its pseudonyms lie beside it.
        signing_key: Path of this machine's private key.
    """

    def __init__(self, path: Path, signing_key: Path) -> None:
        self.path, self._signing_key = path, signing_key
        self._pseudonyms = Pseudonyms(path.with_suffix(".keys.db"))

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The log that settings name. Nothing is made until something is recorded."""
        return cls(settings.audit, settings.signing_key)

    def record(self, verb: Verb, caller: Caller, *, subjects: Iterable[str] = (), **facts: Any) -> None:
        """Add a line; once this returns it is on the disk.

        Args:
            verb: What is done.
            caller: Who does it, and why.
            subjects: Ids of those matched, named or changed.
            **facts: JSON values without anything about a person but ids of clips and galleries.

        Raises:
            AuditFailed: It cannot be written.
        """
        try:
            key = open_signing_key(self._signing_key)
            why = self._pseudonyms.seal(caller.why)
            body = {
                "verb": verb,
                "who": caller.name,
                "why": {"key_id": why.key_id, "ciphertext": why.ciphertext},
                "subjects": sorted(self._pseudonyms.of(subject, keep=verb in _KNOWING) for subject in set(subjects)),
                "facts": facts,
            }
            Ledger(self.path, key.public).append(body, key)
        except (OSError, sqlite3.Error, BadInput, BadUsage) as error:
            raise AuditFailed(
                f"nothing is answered that cannot be recorded: {self.path}: {error}; mend it, or name "
                "another file in WHODID_AUDIT"
            ) from error

    def read(self) -> Iterator[Record]:
        """Every line in order, once the chain is proved.

        Raises:
            BrokenLedger: Which line is not what was written.
            MissingModel: There is a log, but not its public key.
        """
        names = self._pseudonyms.names()
        for sequence, at, body in self._proved():
            yield Record(
                sequence=sequence,
                at=at,
                verb=body["verb"],
                who=body["who"],
                why=self._pseudonyms.unseal(SealedText(**body["why"])),
                subjects=tuple(names.get(each, f"forgotten:{each[:12]}") for each in body["subjects"]),
                facts=body["facts"],
            )

    def read_head(self) -> Head:
        """Where the log ends; keep it elsewhere, and nobody can bring back an older log unnoticed."""
        if not self.path.exists():
            return Head()
        return Ledger(self.path, read_public_key(public_path(self._signing_key))).read_head()

    def forget_subject(self, subject_id: str) -> int:
        """Make a subject unrecognisable in the log; the chain stays whole. Finishes what an earlier run began.

        Their pseudonym's key goes, and with it every stated purpose that names them or stands in a line about them.

        Returns:
            How many lines spoke of them.
        """
        if not self.path.exists():
            return 0
        pseudonym = next((key for key, name in self._pseudonyms.names().items() if name == subject_id), None)
        about, texts = 0, []
        for _, _, body in self._proved():
            sealed = SealedText(**body["why"])
            why = self._pseudonyms.unseal(sealed)
            spoken_of = pseudonym in body["subjects"]
            about += spoken_of
            if why is not None and (spoken_of or subject_id.casefold() in why.casefold()):
                texts.append(sealed.key_id)
        self._pseudonyms.forget_texts(texts)
        # Last, because a run that was interrupted finds the lines again by it.
        self._pseudonyms.forget_subject(subject_id)
        return about

    def _proved(self) -> Iterator[tuple[int, datetime, dict[str, Any]]]:
        if not self.path.exists() and not self.path.with_name(self.path.name + ".head").exists():
            return
        public = read_public_key(public_path(self._signing_key))
        for entry in Ledger(self.path, public).read():
            yield entry.sequence, entry.at, dict(entry.body)
