"""Options that several verbs take, and how they answer machines."""

import json
import sys
from typing import Annotated

import typer

GalleryOption = Annotated[
    str | None,
    typer.Option("--gallery", metavar="G", help="Gallery file, or SQLAlchemy url."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]
PurposeOption = Annotated[
    str | None,
    typer.Option("--purpose", metavar="WHY", envvar="WHODID_PURPOSE", help="Why you ask; kept in the audit log."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
