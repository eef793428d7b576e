"""`whodid audit`, `whodid token`: what was asked and by whom, and who may ask."""

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from services.options import JsonOption

if TYPE_CHECKING:
    from services.access.audit import Record


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
