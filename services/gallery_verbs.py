"""`whodid gallery ...`: who is enrolled, and what is done with them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from services.options import GalleryOption, JsonOption, YesOption, print_json

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
    from services.console import print_subjects

    subjects = open_gallery(gallery).list_subjects()
    if not as_json:
        print_subjects(subjects)
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
    typer.echo(f"erased {open_gallery(gallery).remove(subject)} templates of {subject}")


@gallery_app.command("rotate-key")
def rotate_key(gallery: GalleryOption = None) -> None:
    """Seal the gallery under a new master key; services that read it notice nothing."""
    changed, left = open_gallery(gallery).rotate_key()
    typer.echo(f"wrapped {changed} keys under a new master key")
    for key_id in left:
        typer.echo(f"key {key_id} opens nothing here any more: destroy it once no other gallery needs it")


@gallery_app.command("reissue")
def reissue(gallery: GalleryOption = None) -> None:
    """Turn every template by a new secret rotation, so that a stolen copy compares with nothing any more."""
    typer.echo(f"issued {open_gallery(gallery).reissue()} templates anew")


@gallery_app.command("consent")
def consent(subject: str, basis: BasisArgument, expires: ExpiresOption = None, gallery: GalleryOption = None) -> None:
    """Record why SUBJECT may be recognised, and until when; from then on nothing is matched with them."""
    recorded = read_consent(basis, expires)
    assert recorded is not None
    open_gallery(gallery).set_consent(subject, recorded)


@gallery_app.command("merge")
def merge(subject: str, into: str, gallery: GalleryOption = None) -> None:
    """SUBJECT and INTO are one person: answer INTO for both from now on."""
    open_gallery(gallery).merge(subject, into)


@gallery_app.command("split")
def split(
    subject: str,
    into: str,
    templates: Annotated[list[str], typer.Argument(metavar="TEMPLATE...", help="As `gallery show` lists them.")],
    gallery: GalleryOption = None,
) -> None:
    """Some of SUBJECT's templates show another person, INTO."""
    typer.echo(f"{open_gallery(gallery).split(subject, into, templates)} templates are {into}'s now")


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
    undone = open_gallery(gallery).undo(number)
    typer.echo(f"edit {undone.number} ({undone.kind} {undone.subject_id}) is undone")
