"""Label spaces: which actions a network answers, and what every set calls them; explicit files, nothing is guessed."""

import math
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.contracts.errors import BadInput
from training.clips.manifest import LabelledSpan, describe

FOLDER = Path(__file__).parent / "labels"


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """What a network answers.

    Attributes:
        name: Of the file.
        actions: In the network's order.
        names: For each source, the set's own name of an action to ours; "" where it is left out on purpose.
        exclusive: Whether one of them is done at a time; `exclusive = false` in the file says that they overlap.
    """

    name: str
    actions: tuple[str, ...]
    names: Mapping[str, Mapping[str, str]]
    exclusive: bool = True


def read_label_space(reference: str | Path) -> LabelSpace:
    """Read a label space by the name of a shipped one, or by path.

    Raises:
        BadInput: It is absent or malformed, or maps to an action it does not list.
    """
    path = Path(reference) if str(reference).endswith(".toml") else FOLDER / f"{reference}.toml"
    try:
        content = tomllib.loads(path.read_text())
        actions = tuple(content["actions"])
        names = {source: dict(mapping) for source, mapping in content["names"].items()}
        exclusive = bool(content.get("exclusive", True))
    except OSError as error:
        known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.toml")))
        raise BadInput(f"cannot read {path}: {error.strerror}; shipped label spaces: {known}") from error
    except (tomllib.TOMLDecodeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} is not a label space (actions = [...], [names.SOURCE]): {error}") from error
    strange = sorted({ours for mapping in names.values() for ours in mapping.values()} - {*actions, ""})
    if strange or len(set(actions)) != len(actions):
        raise BadInput(f"{path}: maps to {', '.join(strange)}, or lists an action twice; actions are {actions}")
    return LabelSpace(path.stem, actions, names, exclusive)


def map_labels(spans: Sequence[LabelledSpan], space: LabelSpace) -> list[LabelledSpan]:
    """Rename every action; spans whose actions are all left out are dropped.

    Raises:
        BadInput: Actions no mapping names: lists them by source. Write them down, if only as "" to leave them out.
    """
    unnamed = sorted(
        {
            f"{span.source}: {action!r}"
            for span in spans
            for action in span.actions
            if action not in space.names.get(span.source, {})
        }
    )
    if unnamed:
        raise BadInput(f"label space {space.name} does not name {describe(unnamed)}")
    mapped = []
    for span in spans:
        ours = sorted({space.names[span.source][action] for action in span.actions} - {""})
        if ours:
            mapped.append(span.model_copy(update={"actions": tuple(ours)}))
    return mapped


def join_overlaps(spans: Sequence[LabelledSpan]) -> list[LabelledSpan]:
    """Give every span the actions of those that show the same person for at least half of its time, too.

    What a set labels in rows of their own would otherwise teach that the other action is not done. Spans without a
    subject are of everybody in the picture.
    """
    together: dict[tuple[str, str | None], list[LabelledSpan]] = defaultdict(list)
    for span in spans:
        together[span.clip, span.subject_id].append(span)
    return [
        span.model_copy(
            update={
                "actions": tuple(
                    sorted(
                        {
                            action
                            for other in together[span.clip, span.subject_id]
                            if other is span or _shared_seconds(span, other) >= _length_seconds(span) / 2
                            for action in other.actions
                        }
                    )
                )
            }
        )
        for span in spans
    ]


def _shared_seconds(one: LabelledSpan, other: LabelledSpan) -> float:
    return min(_end_seconds(one), _end_seconds(other)) - max(one.start_seconds, other.start_seconds)


def _length_seconds(span: LabelledSpan) -> float:
    return _end_seconds(span) - span.start_seconds


def _end_seconds(span: LabelledSpan) -> float:
    return math.inf if span.end_seconds is None else span.end_seconds
