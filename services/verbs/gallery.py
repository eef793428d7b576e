"""`whodid gallery ...`: who is enrolled, and what is done with them."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.verbs.options import GalleryOption, JsonOption, YesOption, print_json

if TYPE_CHECKING:
    from services.gallery.edits import Consent
    from services.gallery.store import Gallery

BasisArgument = Annotated[str, typer.Argument(metavar="BASIS", help="Why they may be recognised.")]
BasisOption = Annotated[str | None, typer.Option(help="Why they may be recognised, for instance a signed form.")]
ExpiresOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Until when (UTC); with a basis only."),
]

gallery_app = typer.Typer(help="Who is enrolled.", no_args_is_help=True)


def open_gallery(location: str | None) -> "Gallery":
    """The gallery named, else the machine's own."""
    from services.gallery.store import Gallery
    from services.settings import read_settings

    return Gallery.open(read_settings(), location)


def record_change(what: str, *subjects: str) -> None:
    """Note a change in the audit log, before it is made."""
    from services.access.audit import AuditLog
    from services.access.caller import current_caller
    from services.settings import read_settings

    AuditLog.open(read_settings()).record("change", current_caller(), subjects=subjects, what=what)


def read_consent(basis: str | None, expires: datetime | None) -> "Consent | None":
    """Consent as the options say it.

    Raises:
        typer.BadParameter: An end without a basis.
    """
    from services.gallery.edits import Consent

    if basis is None:
        if expires is not None:
            raise typer.BadParameter("--expires needs --basis: say what runs out")
        return None
    return Consent(basis=basis, expires_at=expires.replace(tzinfo=UTC) if expires else None)


@gallery_app.command("list")
def list_subjects(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Everyone enrolled."""
    from services.console import print_subjects, warn

    opened = open_gallery(gallery)
    subjects = opened.list_subjects()
    if not as_json:
        print_subjects(subjects)
        if (outgrown := opened.outgrown()) is not None:
            warn(f"whodid: {outgrown}")
        return
    print_json(
        [
            {
                "subject_id": subject.subject_id,
                "templates": subject.templates,
                "best_quality": subject.best_quality,
                "consent": subject.consent.model_dump(mode="json") if subject.consent else None,
                "expired": subject.expired,
                "denied": subject.denied,
            }
            for subject in subjects
        ]
    )


@gallery_app.command("show")
def show(subject: str, gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """One subject's templates: where each came from and how good it is."""
    from services.console import print_templates

    templates = open_gallery(gallery).read_templates(subject)
    if not as_json:
        print_templates(templates)
        return
    print_json(
        [
            {
                "template_id": template.template_id,
                "quality": template.quality,
                "embedding_space": template.embedding.space,
                "source_sha256": template.source_sha256,
            }
            for template in templates
        ]
    )


@gallery_app.command("remove")
def remove(subject: str, gallery: GalleryOption = None, yes: YesOption = False) -> None:
    """Erase a subject's templates and face crops from the gallery, and nothing else; see `whodid forget`."""
    if not yes:
        typer.confirm(f"Erase every template of {subject}?", abort=True)
    record_change("remove", subject)
    typer.echo(f"erased {open_gallery(gallery).remove(subject)} templates of {subject}")


@gallery_app.command("rotate-key")
def rotate_key(gallery: GalleryOption = None) -> None:
    """Seal the gallery under a new master key; services that read it notice nothing."""
    record_change("rotate key")
    changed, left = open_gallery(gallery).rotate_key()
    typer.echo(f"wrapped {changed} keys under a new master key")
    for key_id in left:
        typer.echo(f"key {key_id} opens nothing here any more: destroy it once no other gallery needs it")


@gallery_app.command("reissue")
def reissue(gallery: GalleryOption = None) -> None:
    """Turn every template by a new secret rotation, so that a stolen copy compares with nothing any more."""
    record_change("reissue templates")
    typer.echo(f"issued {open_gallery(gallery).reissue()} templates anew")


@gallery_app.command("consent")
def consent(subject: str, basis: BasisArgument, expires: ExpiresOption = None, gallery: GalleryOption = None) -> None:
    """Record why SUBJECT may be recognised, and until when; from then on nothing is matched with them."""
    recorded = read_consent(basis, expires)
    assert recorded is not None
    record_change("consent", subject)
    open_gallery(gallery).set_consent(subject, recorded)


@gallery_app.command("merge")
def merge(subject: str, into: str, gallery: GalleryOption = None) -> None:
    """SUBJECT and INTO are one person: answer INTO for both from now on."""
    record_change("merge", subject, into)
    open_gallery(gallery).merge(subject, into)


@gallery_app.command("split")
def split(
    subject: str,
    into: str,
    templates: Annotated[list[str], typer.Argument(metavar="TEMPLATE...", help="As `gallery show` lists them.")],
    gallery: GalleryOption = None,
) -> None:
    """Some of SUBJECT's templates show another person, INTO."""
    record_change("split", subject, into)
    typer.echo(f"{open_gallery(gallery).split(subject, into, templates)} templates are {into}'s now")


@gallery_app.command("not")
def deny(
    subject: str,
    event: Annotated[str | None, typer.Option(help="An event in which somebody was taken for SUBJECT.")] = None,
    image: Annotated[Path | None, typer.Option(help="Or a picture of somebody who is not SUBJECT.")] = None,
    gallery: GalleryOption = None,
) -> None:
    """That was not SUBJECT: never take this face for theirs again. `gallery undo` takes it back."""
    from services.denial import deny_event, deny_picture

    if (event is None) == (image is None):
        raise typer.BadParameter("give --event or --image")
    record_change("not", subject)
    opened = open_gallery(gallery)
    faces = deny_event(opened, subject, event) if event is not None else deny_picture(opened, subject, image or Path())
    typer.echo(f"{faces} faces are not {subject}'s")


@gallery_app.command("migrate")
def migrate(
    gallery: GalleryOption = None,
    model: Annotated[str | None, typer.Option(help="Whose space to go to; the champion's when left out.")] = None,
    undo: Annotated[str | None, typer.Option(metavar="SPACE", help="Back to this space; drop the other.")] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Drop every space but the one in use.")] = False,
) -> None:
    """Embed the kept face crops with another model. Interrupted, it goes on where it stopped."""
    from services.console import ProgressBars
    from services.gallery import migration
    from services.identity.embed import FaceEmbedder
    from services.models.store import ModelStore
    from services.settings import read_settings

    opened, settings = open_gallery(gallery), read_settings()
    record_change("migrate")
    if undo is not None:
        typer.echo(f"back in {undo}; dropped {migration.undo(opened, undo)} vectors")
    elif finish:
        typer.echo(f"dropped {migration.finish(opened)} vectors")
    else:
        embedder = FaceEmbedder.load(ModelStore(settings.models), device=settings.device, reference=model)
        with ProgressBars(unit="faces") as bars:
            done = migration.migrate(
                opened, embedder.space, embedder.embed, on_progress=lambda n, of: bars.advance_to("migrating", n, of)
            )
        typer.echo(f"embedded {done} faces; the gallery answers in {embedder.space}")
    for space, count in migration.list_spaces(opened).items():
        typer.echo(f"{count:6d} faces in {space}")


@gallery_app.command("calibrate")
def calibrate(
    cohort: Annotated[Path, typer.Argument(help="A folder of pictures for each of many people who are not enrolled.")],
    gallery: GalleryOption = None,
    fpir: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Share of strangers that may be named.")] = 0.003,
    size: Annotated[int | None, typer.Option(min=1, help="Subjects; as many as enrolled when left out.")] = None,
    probe_pictures: Annotated[int, typer.Option(min=1, help="Pooled into one probe, as a track's faces are.")] = 1,
    galleries: Annotated[int, typer.Option(min=1, help="Random ones to draw.")] = 20,
    seed: int = 0,
    plot: Annotated[Path | None, typer.Option(help="Write the DET curve here, SVG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure, on other people's faces, from which similarity this gallery may name anyone."""
    from services.calibration import calibrate_gallery
    from services.console import print_calibration
    from services.settings import read_settings

    record_change("calibrate")
    done = calibrate_gallery(
        read_settings(),
        gallery,
        cohort,
        fpir=fpir,
        size=size,
        probe_pictures=probe_pictures,
        galleries=galleries,
        seed=seed,
    )
    if plot is not None:
        plot.write_text(done.plot)
    if as_json:
        table = [asdict(point) for point in done.table]
        growth = [each.model_dump(mode="json") for each in done.growth]
        print_json({"calibration": done.record.model_dump(mode="json"), "table": table, "growth": growth})
    else:
        print_calibration(done.record, done.table, done.growth)


@gallery_app.command("strangers")
def strangers(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """People nobody has named, known again by a pseudonym, and until when they are remembered."""
    from services.archive.store import Archive
    from services.console import print_strangers
    from services.gallery.strangers import list_strangers, read_names
    from services.settings import read_settings
    from services.strangers import open_strangers

    settings = read_settings()
    names, seen = read_names(open_gallery(gallery)), Archive(settings.archive).count_pseudonyms()
    found = list_strangers(open_strangers(settings))
    if not as_json:
        print_strangers(found, seen, names)
        return
    print_json(
        [
            {
                "pseudonym": each.pseudonym,
                "seen": seen.get(each.pseudonym, 0),
                "faces": each.faces,
                "least_alike": each.alike,
                "first_seen": each.first_seen.isoformat(),
                "expires_at": each.expires_at.isoformat(),
                "named": names.get(each.pseudonym),
            }
            for each in found
        ]
    )


@gallery_app.command("name")
def name(
    pseudonym: Annotated[str, typer.Argument(metavar="PSEUDONYM", help="As `gallery strangers` lists them.")],
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Somebody new, or enrolled already.")],
    gallery: GalleryOption = None,
    duplicate: Annotated[bool, typer.Option("--duplicate", help="Though the face is enrolled under another name.")] = (
        False
    ),
    basis: BasisOption = None,
    expires: ExpiresOption = None,
) -> None:
    """Say who a stranger is: they are enrolled, and what they did before counts as SUBJECT's. `undo` takes it back."""
    from services.contracts.errors import MissingModel
    from services.gallery.strangers import name_stranger
    from services.models.store import ModelStore
    from services.settings import read_settings
    from services.strangers import open_strangers

    settings = read_settings()
    calibration = ModelStore(settings.models).champion("face_embedding").card.identification
    if calibration is None and not duplicate:
        raise MissingModel("the face model has no calibrated threshold to tell duplicates by: say --duplicate")
    record_change("name", subject)
    faces = name_stranger(
        open_gallery(gallery),
        open_strangers(settings),
        pseudonym,
        subject,
        consent=read_consent(basis, expires),
        duplicate_similarity=None if duplicate or calibration is None else calibration.threshold,
    )
    typer.echo(f"{pseudonym} is {subject}: {faces} faces enrolled; `whodid events --who {subject}` knows their past")


@gallery_app.command("edits")
def edits(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Everything that was done to the gallery, oldest first."""
    from services.console import print_edits

    found = open_gallery(gallery).list_edits()
    if as_json:
        print_json(
            [
                {
                    "number": edit.number,
                    "at": edit.at.isoformat(),
                    "kind": edit.kind,
                    "subject_id": edit.subject_id,
                    "into": edit.into,
                    "faces": edit.faces,
                    "undoes": edit.undoes,
                    "undone": edit.undone,
                    "remark": edit.remark,
                }
                for edit in found
            ]
        )
    else:
        print_edits(found)


@gallery_app.command("undo")
def undo(
    number: Annotated[int | None, typer.Argument(help="Of the edit; the last one in force when left out.")] = None,
    gallery: GalleryOption = None,
) -> None:
    """Take an edit back. Nothing is destroyed: an undo can be undone, too."""
    record_change("undo")
    undone = open_gallery(gallery).undo(number)
    typer.echo(f"edit {undone.number} ({undone.kind} {undone.subject_id}) is undone")
