"""A lineage for people: a tree in the terminal, a model card in Markdown."""

from collections.abc import Mapping, Sequence
from textwrap import shorten

from rich.markup import escape
from rich.tree import Tree

from training.lineage.node import Node, Proof

_SHORT = 12
_LONGEST = 90


def to_tree(root: Node, proofs: Sequence[Proof] = ()) -> Tree:
    """The lineage as a tree; proved links are ticked, broken ones say what is wrong."""
    verdicts = {(proof.node.kind, proof.node.name): proof.fault for proof in proofs}
    tree = Tree(_line(root, verdicts), guide_style="dim")
    _grow(tree, root, verdicts)
    return tree


def to_markdown(root: Node) -> str:
    """A model card of every model in the lineage."""
    models = {node.name: node for node in root.walk() if node.kind == "model"}
    return "\n".join(_card(model) for model in models.values())


def _grow(tree: Tree, node: Node, verdicts: Mapping[tuple[str, str], str | None]) -> None:
    for part in node.parts:
        _grow(tree.add(_line(part, verdicts)), part, verdicts)


def _line(node: Node, verdicts: Mapping[tuple[str, str], str | None]) -> str:
    mark = ""
    if (node.kind, node.name) in verdicts:
        fault = verdicts[node.kind, node.name]
        mark = "[green]✓[/] " if fault is None else f"[red]✗ {escape(fault)}[/] "
    hidden = ("param ", "metric ", "tag ", "description", "sha256", "subjects", "input ")
    facts = {name: value for name, value in node.facts.items() if not name.startswith(hidden)}
    if node.kind == "card":
        facts = {}
    said = ", ".join(f"{name} {shorten(value, _LONGEST)}" for name, value in facts.items() if value)
    return f"{mark}[bold]{node.kind}[/] {escape(_shorten(node.name))}" + (f"  [dim]{escape(said)}[/]" if said else "")


def _shorten(name: str) -> str:
    is_digest = len(name) >= 32 and not set(name.removesuffix(".dir")) - set("0123456789abcdef")
    return name[:_SHORT] if is_digest else name


def _card(model: Node) -> str:
    facts = model.facts
    lines = [f"# {model.name}", "", facts.get("description", "").strip(), "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in facts.items() if name != "description"]
    for node in model.walk():
        if node is model or not (node.facts or node.kind in ("run", "commit", "data")):
            continue
        lines += ["", f"## {node.kind.capitalize()} {node.name}", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value.replace('|', '/')} |" for name, value in node.facts.items()]
    return "\n".join(lines) + "\n"
