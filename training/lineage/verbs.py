"""The verb lineage of `whodid`. Thin; needs the runtime only, so it works wherever clips are analysed."""

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.lineage.node import Node, Proof

lineage_app = typer.Typer(add_completion=False)
_PIPED_WIDTH = 200


class Format(StrEnum):
    """What others read."""

    tree = "tree"
    json = "json"
    cyclonedx = "cyclonedx"
    openlineage = "openlineage"
    markdown = "markdown"


@lineage_app.command()
def lineage(
    reference: Annotated[
        str, typer.Argument(metavar="ID", help="Event id (or its beginning), model[@version], data md5, or subject.")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Recompute every digest; exit code 3 at a broken link.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How to show it.")] = Format.tree,
) -> None:
    """What an event or model rests on, back to data and people; what data or a subject touched, forwards."""
    from services.settings import read_settings
    from training.lineage.node import BrokenLink, prove_all
    from training.lineage.trace import Tracer

    root = Tracer(read_settings()).trace(reference)
    proofs = prove_all(root) if verify else []
    _show(root, proofs, Format.json if as_json else form)
    broken = [proof for proof in proofs if proof.fault]
    if broken:
        raise BrokenLink(f"{len(broken)} of {len(proofs)} links are broken, the first: {broken[0].fault}")


def _show(root: "Node", proofs: "list[Proof]", form: Format) -> None:
    from training.lineage.node import to_json

    match form:
        case Format.tree:
            from rich.console import Console

            from training.lineage.texts import to_tree

            console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)
            console.print(to_tree(root, proofs))
            if proofs:
                console.print(f"{sum(proof.fault is None for proof in proofs)} of {len(proofs)} links proved")
        case Format.json:
            document = to_json(root)
            if proofs:
                told = [{"kind": p.node.kind, "name": p.node.name, "fault": p.fault} for p in proofs]
                document = {**document, "proofs": told}
            _print_json(document)
        case Format.cyclonedx:
            from training.lineage.cyclonedx import to_cyclonedx

            _print_json(to_cyclonedx(root))
        case Format.openlineage:
            from training.lineage.openlineage import to_openlineage

            _print_json(to_openlineage(root))
        case Format.markdown:
            from training.lineage.texts import to_markdown

            sys.stdout.write(to_markdown(root))


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
