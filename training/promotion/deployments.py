"""What serves where, and who changed it: read from the promotion log alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_args

from services.contracts.errors import BadInput
from services.ledger import BrokenLedger, Entry, Ledger
from services.settings import Settings
from services.signing import open_signing_key, public_path, read_public_key

Kind = Literal["adopt", "promote", "rollback", "canary", "abort"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model version in a place.

    Attributes:
        stage: Where.
        task: What it does there; a stage has one model a task.
        name: Of the registered model.
        version: Its number in the registry; empty when it never was in one.
        card_version: As its card says.
        uri: What services load.
        sha256: Of the weights.
        run_id: The run that made it; empty for a pretrained one.
        git_commit: The commit that made it.
        data_md5: The data it learned from.
    """

    stage: str
    task: str
    name: str
    version: str
    card_version: str
    uri: str
    sha256: str
    run_id: str = ""
    git_commit: str = ""
    data_md5: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the promotion log.

    Attributes:
        kind: `adopt` records what was serving before the log began; `canary` begins to share traffic, `abort` ends it.
        deployment: What serves from now on (for `canary`: beside the other; for `abort`: alone again).
        who: Who changed it.
        why: In their words.
        override: Why failed gates were passed over; None when none was.
        gates: Every gate's answer.
        share_percent: Of the traffic, for a canary.
        pins_commit: The git commit that edited the overlay; None without one.
    """

    kind: Kind
    deployment: Deployment
    who: str
    why: str
    override: str | None = None
    gates: Sequence[Mapping[str, Any]] = ()
    share_percent: int | None = None
    pins_commit: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What serves one task in one stage at a moment.

    Attributes:
        deployment: It.
        since: When it began to serve.
        change: The change that brought it.
        canary: What shares its traffic.
        before: What served before it, newest last: where a rollback leads.
    """

    deployment: Deployment
    since: datetime
    change: Change
    canary: Change | None = None
    before: tuple[Deployment, ...] = field(default=(), repr=False)


class PromotionLog:
    """The promotion log of this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def record(self, change: Change) -> Entry:
        """Append one change, signed and on the disk when this returns.

        Raises:
            BrokenLedger: The log is not what was written; nothing is appended to it.
        """
        key = open_signing_key(self._settings.signing_key)
        return Ledger(self._settings.promotions, key.public).append(asdict(change), key)

    def changes(self, *, until: datetime | None = None, witness: str | None = None) -> list[tuple[Entry, Change]]:
        """Every change up to a moment, oldest first, once the whole log is proved.

        Args:
            until: The moment; now when None.
            witness: `LINE:SHA256` of a line seen earlier, for instance in a commit message.

        Raises:
            BrokenLedger: It is not what was written.
            MissingModel: There is a log, but no key to verify it with.
        """
        if not self._settings.promotions.exists() and witness is None:
            head = self._settings.promotions.with_name(self._settings.promotions.name + ".head")
            if not head.exists():
                return []
        public = read_public_key(public_path(self._settings.signing_key))
        entries = Ledger(self._settings.promotions, public).read()
        if witness is not None and witness not in {f"{entry.sequence}:{entry.sha256}" for entry in entries}:
            raise BrokenLedger(f"{self._settings.promotions} does not hold line {witness}: it was cut off or replaced")
        return [(entry, _parse(entry)) for entry in entries if until is None or entry.at <= until]

    def live(self, *, at: datetime | None = None, witness: str | None = None) -> dict[tuple[str, str], Standing]:
        """What served at a moment (now when None), by stage and task."""
        standing: dict[tuple[str, str], Standing] = {}
        for entry, change in self.changes(until=at, witness=witness):
            place = (change.deployment.stage, change.deployment.task)
            now = standing.get(place)
            match change.kind:
                case "adopt" | "promote":
                    before = (*now.before, now.deployment) if now else ()
                    standing[place] = Standing(change.deployment, entry.at, change, before=before)
                case "rollback":
                    standing[place] = Standing(
                        change.deployment, entry.at, change, before=now.before[:-1] if now else ()
                    )
                case "canary" | "abort" if now:
                    canary = change if change.kind == "canary" else None
                    standing[place] = Standing(now.deployment, now.since, now.change, canary, now.before)
        return standing


def _parse(entry: Entry) -> Change:
    body = dict(entry.body)
    try:
        if body["kind"] not in get_args(Kind):
            raise ValueError(f"kind {body['kind']!r}")
        deployment = Deployment(**body.pop("deployment"))
        return Change(deployment=deployment, **{name: body[name] for name in _FIELDS if name in body})
    except (TypeError, KeyError, ValueError) as fault:
        raise BadInput(f"line {entry.sequence} of the promotion log is no change this version knows: {fault}") from None


_FIELDS = [each.name for each in fields(Change) if each.name != "deployment"]
