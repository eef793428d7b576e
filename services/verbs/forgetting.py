"""`whodid forget`: a person leaves this installation, provably."""

from typing import Annotated

import typer

from services.verbs.options import GalleryOption, JsonOption, YesOption, print_json


def forget(
    subject: str,
    gallery: GalleryOption = None,
    yes: YesOption = False,
    verify: Annotated[bool, typer.Option("--verify", help="Erase nothing: prove that nothing is left.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase SUBJECT from gallery, archive, evidence, reports, audit log and backups; write a signed certificate."""
    from services.access.audit import AuditLog
    from services.access.caller import current_caller
    from services.contracts.errors import BadInput
    from services.forgetting.erase import describe_traces
    from services.forgetting.erase import forget as erase
    from services.forgetting.scan import find_traces
    from services.settings import read_settings

    settings = read_settings()
    if verify:
        left = find_traces(settings, gallery=gallery or settings.gallery, names=(subject,))
        if as_json:
            print_json([{"place": trace.place, "identifier": trace.identifier} for trace in left])
        if left:
            raise BadInput(f"{describe_traces(left)}: run `whodid forget {subject} --yes`")
        if not as_json:
            typer.echo("nothing is left: every table, file and database page was searched")
        return
    if not yes:
        typer.confirm(f"Erase everything about {subject}, for good? Backups of the gallery go with it.", abort=True)
    for done in erase(subject, settings, gallery=gallery):
        AuditLog.open(settings).record("forget", current_caller(), pseudonym=done.certificate.pseudonym)
        if as_json:
            print_json(done.certificate.model_dump(mode="json"))
            continue
        for kind, count in done.certificate.counts.items():
            typer.echo(f"{count:6d} {kind.replace('_', ' ')}")
        for key_id in done.certificate.keys_to_destroy:
            typer.echo(f"key {key_id} still opens backups of before: its keeper has to replace and destroy it")
        typer.echo(f"nothing is left; certificate: {done.path}")
