"""Duplicates: one face under two names would make every answer about either ambiguous."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.contracts.errors import BadInput
from services.gallery.snapshot import Snapshot
from services.gallery.template import Template


def refuse_duplicates(present: Snapshot, new: Mapping[str, Sequence[Template]], limit: float) -> None:
    """Look whether a face about to be enrolled shows somebody who has another name.

    Args:
        present: Who is enrolled.
        new: Subject to their new templates.
        limit: Cosine from which two faces count as one person's.

    Raises:
        BadInput: One does: says whom and how near.
    """
    seen: list[tuple[str, Template]] = []
    for name, templates in new.items():
        if not templates:
            continue
        vectors = np.stack([template.embedding.vector for template in templates])
        nearest = present.similarities(vectors).max(axis=0) if present.names else np.empty(0)
        for other, similarity in zip(present.names, nearest, strict=True):
            if other != name and similarity >= limit:
                raise _refusal(name, other, float(similarity), limit)
        for other, template in seen:
            similarity = float((vectors @ template.embedding.vector).max())
            if similarity >= limit:
                raise _refusal(name, other, similarity, limit)
        seen.extend((name, template) for template in templates)


def _refusal(name: str, other: str, similarity: float, limit: float) -> BadInput:
    return BadInput(
        f"this face of {name!r} is already enrolled as {other!r} (similarity {similarity:.4f}, a match from "
        f"{limit:.4f}): enrol it as {other!r}, or say --duplicate if they are two people"
    )
