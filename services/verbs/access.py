"""`whodid audit`, `whodid token`: what was asked and by whom, and who may ask."""

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from services.verbs.options import JsonOption, PurposeOption, print_json

if TYPE_CHECKING:
    from services.access.audit import Record
    from services.access.caller import Caller
    from services.access.watchlist import Watchlist

watchlist_app = typer.Typer(help="Names that two people have put on the watchlist.", no_args_is_help=True)


def audit(
    verify: Annotated[bool, typer.Option("--verify", help="Only prove the log, and say where it ends.")] = False,
    subject: Annotated[str | None, typer.Option(help="Only lines about this subject.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every look-up, enrolment, export and change: who, when, why, whom. Exits 3 where the log was tampered with."""
    from services.access.audit import AuditLog
    from services.settings import read_settings

    log = AuditLog.open(read_settings())
    records = [record for record in log.read() if subject is None or subject in record.subjects]
    if verify:
        head = log.read_head()
        found = {"entries": head.entries, "head": head.sha256, "log": str(log.path)}
        typer.echo(json.dumps(found) if as_json else f"{log.path}: {head.entries} lines proved, head {head.sha256}")
    elif as_json:
        for record in records:
            sys.stdout.write(json.dumps(_describe(record), ensure_ascii=False) + "\n")
    else:
        _print(records)


def token(
    role: Annotated[list[str], typer.Option(help="viewer, analyst, enroller, admin or auditor; repeat.")],
    camera_group: Annotated[str, typer.Option(help="For the cameras of which group; * is all.")] = "*",
    name: Annotated[str, typer.Option(help="Whose token: what the audit log calls them.")] = "local operator",
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 31, help="How long it is good for.")] = 12.0,
) -> None:
    """Print a bearer token for the served API, signed with this machine's token key."""
    from services.access.roles import Grant
    from services.access.tokens import mint
    from services.settings import read_settings

    grants = [Grant.parse(f"{each}@{camera_group}") for each in role]
    if None in grants:
        raise typer.BadParameter(f"{role}: roles are viewer, analyst, enroller, admin, auditor")
    known = [grant for grant in grants if grant is not None]
    typer.echo(mint(read_settings(), name, known, valid_for=timedelta(hours=hours)))


@watchlist_app.command("list")
def watchlist_list(as_json: JsonOption = False) -> None:
    """Names proposed, and names listed because a second person confirmed them."""
    from dataclasses import asdict

    listings = _watchlist().listings()
    if as_json:
        print_json([asdict(listing) for listing in listings])
    for listing in [] if as_json else listings:
        state = f"confirmed by {listing.confirmed_by}" if listing.confirmed_by else "awaits a second person"
        typer.echo(f"{listing.subject_id}: proposed by {listing.proposed_by}, {state}")


@watchlist_app.command("propose")
def watchlist_propose(subject: str, purpose: PurposeOption = None) -> None:
    """Propose SUBJECT, with a token in $WHODID_TOKEN."""
    _watchlist().propose(subject, _person(purpose))


@watchlist_app.command("confirm")
def watchlist_confirm(subject: str, purpose: PurposeOption = None) -> None:
    """Confirm SUBJECT, with the token of another person than proposed it."""
    _watchlist().confirm(subject, _person(purpose))


@watchlist_app.command("withdraw")
def watchlist_withdraw(subject: str, purpose: PurposeOption = None) -> None:
    """Take SUBJECT off, with a token in $WHODID_TOKEN."""
    _watchlist().withdraw(subject, _person(purpose))


def _watchlist() -> "Watchlist":
    from services.access.audit import AuditLog
    from services.access.watchlist import Watchlist
    from services.settings import read_settings

    return Watchlist(AuditLog.open(read_settings()))


def _person(purpose: str | None) -> "Caller":
    """Who `$WHODID_TOKEN` proves to be asking, and why.

    Raises:
        BadUsage: It proves nobody, or no purpose is given.
    """
    from dataclasses import replace

    from services.access.rules import LOCAL, AccessRules
    from services.access.tokens import TokenRefused, read_token
    from services.contracts.errors import BadUsage
    from services.settings import read_settings

    settings = read_settings()
    rules = AccessRules.read(replace(settings, access=settings.access or LOCAL))
    if not settings.token or not purpose or rules is None:
        raise BadUsage("two people must be told apart: give --purpose, and each their own token in WHODID_TOKEN")
    try:
        return replace(read_token(settings.token, rules.issuers), why=purpose)
    except TokenRefused as refused:
        raise BadUsage(f"WHODID_TOKEN: {refused}; `whodid token --role enroller --name NAME` makes one") from refused


def _describe(record: "Record") -> dict[str, object]:
    return {
        "sequence": record.sequence,
        "at": record.at.isoformat(),
        "verb": record.verb,
        "who": record.who,
        "why": record.why,
        "subjects": list(record.subjects),
        "facts": record.facts,
    }


def _print(records: "list[Record]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("when", "who", "did", "whom", "why")
    for record in records:
        why = "forgotten" if record.why is None else record.why
        cells = (record.who, record.verb, ", ".join(record.subjects), why)
        table.add_row(record.at.isoformat(sep=" ", timespec="seconds"), *map(escape, cells))
    Console().print(table)
