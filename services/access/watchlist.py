"""Watchlist: names that two people have put there. What counts is what the audit log proves."""

from dataclasses import dataclass

from services.access.audit import AuditLog
from services.access.caller import Caller, Denied
from services.access.roles import Permission
from services.contracts.errors import BadInput


@dataclass(frozen=True, slots=True)
class Listing:
    """One name.

    Attributes:
        subject_id: Whose.
        proposed_by: Who wants it there.
        why: As they stated; None once it is forgotten.
        confirmed_by: Who else agreed; None until somebody has.
    """

    subject_id: str
    proposed_by: str
    why: str | None
    confirmed_by: str | None = None


class Watchlist:
    """The watchlist of one installation; no second store that could disagree with the log.

    Args:
        log: Holds it.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def listings(self) -> list[Listing]:
        """Names proposed and names listed, in order of proposal.

        Raises:
            BrokenLedger: The log is not what was written.
        """
        found: dict[str, Listing] = {}
        for record in self._log.read():
            for subject in record.subjects:
                if record.verb == "propose":
                    found[subject] = Listing(subject, record.who, record.why)
                elif record.verb == "confirm":
                    was = found[subject]
                    found[subject] = Listing(subject, was.proposed_by, was.why, record.who)
                elif record.verb == "withdraw":
                    found.pop(subject, None)
        return list(found.values())

    def propose(self, subject_id: str, caller: Caller) -> None:
        """Propose a name. Nothing follows from it until somebody else confirms it.

        Raises:
            Denied: The caller may not.
            BadInput: It is proposed or listed already.
        """
        caller.require(Permission.PROPOSE)
        if self._find(subject_id) is not None:
            raise BadInput(f"{subject_id} is proposed or listed already: see `whodid watchlist list`")
        self._log.record("propose", caller, subjects=[subject_id])

    def confirm(self, subject_id: str, caller: Caller) -> None:
        """Confirm what somebody else proposed.

        Raises:
            Denied: The caller may not, or proposed it.
            BadInput: Nobody proposed it, or it is listed already.
        """
        caller.require(Permission.CONFIRM)
        listing = self._find(subject_id)
        if listing is None or listing.confirmed_by is not None:
            raise BadInput(f"{subject_id} awaits no confirmation: see `whodid watchlist list`")
        if listing.proposed_by == caller.name:
            raise Denied(f"{caller.name} proposed {subject_id}: a second person must confirm it")
        self._log.record("confirm", caller, subjects=[subject_id])

    def withdraw(self, subject_id: str, caller: Caller) -> None:
        """Take a name off; one person may.

        Raises:
            Denied: The caller may not.
            BadInput: It is not there.
        """
        caller.require(Permission.CONFIRM)
        if self._find(subject_id) is None:
            raise BadInput(f"{subject_id} is not on the watchlist")
        self._log.record("withdraw", caller, subjects=[subject_id])

    def _find(self, subject_id: str) -> Listing | None:
        return next((each for each in self.listings() if each.subject_id == subject_id), None)
