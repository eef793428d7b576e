"""`whodid events`, `whodid show` and `whodid archive`: what was seen before, its pixels, and how long it is kept."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.verbs.gallery import open_gallery
from services.verbs.options import GalleryOption, JsonOption, PurposeOption, YesOption, print_json

archive_app = typer.Typer(help="What was ever seen here.", no_args_is_help=True)

# More rows than anybody reads; machines get all of them.
_ROWS_SHOWN = 100


def events(
    who: Annotated[str | None, typer.Option(metavar="S", help="Only this subject's, or pseudonym's.")] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="Only of people who are not enrolled.")] = False,
    did: Annotated[str | None, typer.Option(metavar="ACTION", help="Only this action.")] = None,
    behaviour: Annotated[
        str | None, typer.Option(metavar="B", help="Only what was part of this, such as fight or loiter.")
    ] = None,
    camera: Annotated[str | None, typer.Option(metavar="C", help="Only on this camera.")] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Begun at A or later and before B: ISO 8601, else local time."),
    ] = None,
    together_with: Annotated[
        str | None, typer.Option("--with", metavar="T", help="Only while T was in view of the same clip.")
    ] = None,
    clip: Annotated[str | None, typer.Option(metavar="ID", help="Only this clip_id.")] = None,
    face: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Only of whoever looks like this: reads the evidence kept.")
    ] = None,
    gallery: GalleryOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    page: Annotated[int, typer.Option(min=1, help="The next `limit` ones: 2, 3, ...")] = 1,
    form: Annotated[str | None, typer.Option("--format", help="jsonl, csv, ava or webvtt.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there, not to stdout.")] = None,
    as_json: JsonOption = False,
    purpose: PurposeOption = None,
) -> None:
    """Search every event analysed here, oldest first."""
    from services.access.audit import AuditLog
    from services.access.caller import local_user
    from services.archive.query import EventQuery
    from services.archive.store import Archive
    from services.console import print_found
    from services.contracts.errors import BadUsage
    from services.gallery.strangers import also_called, read_names
    from services.history import FORMATS, parse_moment
    from services.settings import read_settings

    form = "jsonl" if as_json and form is None else form
    if form is not None and form not in FORMATS:
        raise BadUsage(f"--format {form}: choose one of {', '.join(FORMATS)}")
    if out is not None and form is None:
        raise BadUsage(f"--out {out}: say in which --format, one of {', '.join(FORMATS)}")
    settings = read_settings()
    archive = Archive(settings.archive)
    names = read_names(open_gallery(gallery))
    query = EventQuery(
        subject_id=who,
        pseudonyms=also_called(who, names),
        unknown=unknown,
        action=did,
        behaviour=behaviour,
        camera_id=camera,
        from_time=parse_moment(between[0]) if between else None,
        to_time=parse_moment(between[1]) if between else None,
        with_subject_id=together_with,
        with_pseudonyms=also_called(together_with, names),
        clip_id=clip,
        limit=_ROWS_SHOWN if form is None and limit is None and page == 1 else limit,
        page=page,
    )
    AuditLog.open(settings).record(
        "search",
        local_user(purpose),
        subjects=[name for name in (who, together_with) if name],
        action=did,
        behaviour=behaviour,
        clip_id=clip,
    )
    if face is not None:
        from services.lookalikes import find_by_face

        found = find_by_face(archive, query, face, settings)
    else:
        found = archive.find_events(query)
    if form is None:
        print_found(found, shown=query.limit, names=names)
    elif out is None:
        sys.stdout.writelines(FORMATS[form](found, archive))
    else:
        with out.open("w", encoding="utf-8", newline="") as file:
            file.writelines(FORMATS[form](found, archive))


def show(
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="Its id, or the beginning of it.")],
    out: Annotated[
        Path, typer.Option(metavar="PNG|FOLDER", help="One picture, or a folder for the face and each frame.")
    ] = Path("event.png"),
    purpose: PurposeOption = None,
) -> None:
    """Show the pixels of one EVENT: the face and frames, everything but that person hidden."""
    from services.access.audit import AuditLog
    from services.access.caller import local_user
    from services.archive.store import Archive
    from services.review import write_review
    from services.settings import read_settings

    settings = read_settings()
    archive = Archive(settings.archive)
    sighting = archive.find_event(event_id)
    subject_id = sighting.event.identity.subject_id
    AuditLog.open(settings).record(
        "export",
        local_user(purpose),
        subjects=[subject_id] if subject_id else [],
        clip_id=sighting.clip.clip_id,
        form="pixels",
    )
    for path in write_review(sighting, archive, out):
        typer.echo(str(path))


@archive_app.command("migrate")
def archive_migrate() -> None:
    """Bring the archive's tables up to date: PostgreSQL's need it said, SQLite's do it by themselves."""
    from services.archive.store import Archive
    from services.settings import read_settings

    before, now = Archive(read_settings().archive).migrate()
    typer.echo(f"{now}: up to date" if before == now else f"from {before or 'nothing'} to {now}")


@archive_app.command("serve")
def archive_serve(
    port: Annotated[int, typer.Option(help="Where it listens on loopback; 0 takes a free one.")] = 8081,
    gallery: GalleryOption = None,
    anybody: Annotated[bool, typer.Option("--anybody", help="Answer requests without a token, too.")] = False,
) -> None:
    """Answer GET /v1/events over HTTP on loopback, to viewers and for their cameras alone, until Ctrl-C."""
    from dataclasses import replace

    from services.access.rules import LOCAL
    from services.access.tokens import make_token_key
    from services.settings import read_settings
    from services.viewing import serve_events

    settings = read_settings()
    make_token_key(settings)
    access = "" if anybody else settings.access or LOCAL
    serve_events(replace(settings, access=access, gallery=gallery or settings.gallery), host="127.0.0.1", port=port)


@archive_app.command("purge")
def archive_purge(
    camera: Annotated[str, typer.Option(metavar="C", help="Of this camera.")],
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Whose clips ended so long ago: 12h, 30d, 8w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    purpose: PurposeOption = None,
) -> None:
    """Delete what is older than it may be kept: events, evidence and reports, overwritten on disk."""
    from dataclasses import asdict

    from services.access.audit import AuditLog
    from services.access.caller import local_user
    from services.archive.store import Archive
    from services.history import parse_age, purge
    from services.settings import read_settings
    from services.strangers import open_strangers

    age = parse_age(older_than)
    settings = read_settings()
    archive = Archive(settings.archive)
    if not dry_run and not yes:
        typer.confirm(f"Delete everything of camera {camera} older than {older_than}?", abort=True)
    if not dry_run:
        facts = {"what": "purge", "camera_id": camera, "older_than": older_than}
        AuditLog.open(settings).record("change", local_user(purpose), **facts)
    purged = purge(archive, camera_id=camera, older_than=age, strangers=open_strangers(settings), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(purged)})
    else:
        counts = ", ".join(f"{count} {name}" for name, count in asdict(purged).items())
        typer.echo(f"{'would delete' if dry_run else 'deleted'} {counts}")
