"""Journal: what an erasure has to do, written before anything is erased, so that a later run can finish it."""

import hashlib
import os
from pathlib import Path

from pydantic import ValidationError

from services.contracts.errors import BadInput
from services.contracts.message import Message


class Plan(Message):
    """Everything an erasure will touch.

    Attributes:
        subject_id: The name asked for.
        names: Every name of theirs: merged ones, too.
        pseudonym: What stands in their place from now on.
        gallery: Its path or url.
        digests: Ids of their templates.
        evidence: Uris of bundles in which they were recognised or from which they were enrolled.
        reports: Folders of reports about clips in which they were recognised.
        mentioning: Folders of reports that only mention them, as somebody who came second.
        templates: How many faces of theirs the gallery held.
        events: How many events were theirs.
    """

    subject_id: str
    names: tuple[str, ...]
    pseudonym: str
    gallery: str
    digests: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    mentioning: tuple[str, ...] = ()
    templates: int = 0
    events: int = 0

    def joined(self, other: "Plan") -> "Plan":
        """What either plan found: the first before, the second after some of it was erased."""
        sets = {
            field: tuple(sorted({*getattr(self, field), *getattr(other, field)}))
            for field in ("names", "digests", "evidence", "reports", "mentioning")
        }
        sets["mentioning"] = tuple(folder for folder in sets["mentioning"] if folder not in sets["reports"])
        counts = {field: max(getattr(self, field), getattr(other, field)) for field in ("templates", "events")}
        return self.model_copy(update={**sets, **counts})


class Journal:
    """One erasure under way. The file holds names: it is its owner's alone, and overwritten at the end.

    Args:
        folder: Of journals and certificates.
        subject_id: Whose.
    """

    def __init__(self, folder: Path, subject_id: str) -> None:
        self._path = folder / f"{hashlib.sha256(subject_id.encode()).hexdigest()[:16]}.journal"

    def read(self) -> Plan | None:
        """The plan of an erasure that was begun; None where none was.

        Raises:
            BadInput: The file is not a journal.
        """
        try:
            return Plan.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as fault:
            raise BadInput(f"{self._path} is no journal: {fault.errors()[0]['msg']}; delete it and ask again") from None

    def write(self, plan: Plan) -> None:
        """Durably, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self._path, plan.to_json())

    def destroy(self) -> None:
        """Overwrite, then delete."""
        with self._path.open("r+b") as file:
            file.write(bytes(self._path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        self._path.unlink()


def write_durably(path: Path, content: bytes) -> None:
    """Put a private file in place, whole, and on the disk when this returns."""
    draft = path.with_name(f".{path.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def find_journals(folder: Path) -> list[Plan]:
    """Erasures that were begun and not finished."""
    plans = (Plan.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.journal")))
    return list(plans)
