"""Node: one thing an answer rests on, what is known of it, and how to prove that it is what it was."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from services.contracts.errors import BadInput


class BrokenLink(BadInput):
    """Something is not, or no longer, what the answer rested on; names it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One link of a lineage.

    Attributes:
        kind: What it is: event, clip, evidence, model, card, run, commit, data, gallery, promotion, subject.
        name: Which one.
        facts: What is known of it, for people and programs.
        parts: What it rests on; in a forward lineage, what rests on it.
        prove: Recomputes its digest; raises BrokenLink. None where there is nothing to recompute.
    """

    kind: str
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple["Node", ...] = ()
    prove: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def walk(self) -> Iterator["Node"]:
        """This node and everything under it, depth first; what occurs twice is met twice."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of proving a node.

    Attributes:
        node: Which.
        fault: What is broken; None when it is as it was.
    """

    node: Node
    fault: str | None


def prove_all(root: Node) -> list[Proof]:
    """Prove every node that can be, each once, in the order of the tree: the first fault is the first broken link."""
    proofs: dict[tuple[str, str], Proof] = {}
    for node in root.walk():
        if node.prove is None or (node.kind, node.name) in proofs:
            continue
        try:
            node.prove()
        except BrokenLink as fault:
            proofs[node.kind, node.name] = Proof(node, str(fault))
        else:
            proofs[node.kind, node.name] = Proof(node, None)
    return list(proofs.values())


def to_json(node: Node) -> dict[str, object]:
    """The tree as plain JSON values."""
    return {"kind": node.kind, "name": node.name, "facts": dict(node.facts), "parts": [to_json(p) for p in node.parts]}
