"""Names in the archive: where one stands, and another put in its place."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from services.archive.tables import EVENTS, TRACKS

# What may stand before and after a name, where another, longer name would go on: "ada" is in neither "adam" nor "ada-2"
# nor "ada.b"; it is in "ada." at the end of a sentence. Meant for text and for bytes alike.
NAME_BEGINS = r"(?<![\w@-])(?<!\w[.'])"
NAME_ENDS = r"(?![\w@-])(?![.']\w)"
# SQLite takes no more than 32,766 values in one statement.
_VALUES_AT_ONCE = 1000


def find_naming(connection: sa.Connection, subject_id: str) -> list[int]:
    """Numbers of the analyses that hold a name or pseudonym: who it was, who came second, why nobody was named."""
    numbers: set[int] = set()
    for column in (TRACKS.c.subject_id, TRACKS.c.runner_up_subject_id, TRACKS.c.pseudonym):
        numbers.update(connection.scalars(sa.select(TRACKS.c.analysis_no).where(column == subject_id)))
    # Databases differ in what LIKE takes for the same letter: they only narrow the choice.
    said = sa.select(TRACKS.c.analysis_no, TRACKS.c.reason).where(TRACKS.c.reason.contains(subject_id, autoescape=True))
    numbers.update(number for number, reason in connection.execute(said) if pattern_of(subject_id).search(reason))
    return sorted(numbers)


def replace_name(connection: sa.Connection, analysis_nos: Sequence[int], subject_id: str, pseudonym: str) -> int:
    """Put a pseudonym in a name's place, in these analyses.

    Returns:
        How many events were the subject's.
    """
    named = 0
    for chunk in chunks_of(analysis_nos):
        for table in (EVENTS, TRACKS):
            of_these = table.c.analysis_no.in_(chunk)
            for column in (table.c.runner_up_subject_id, table.c.subject_id, table.c.pseudonym):
                update = table.update().where(of_these, column == subject_id).values({column: pseudonym})
                done = connection.execute(update).rowcount
                named += done if column is EVENTS.c.subject_id or column is EVENTS.c.pseudonym else 0
            reasons = sa.select(table.c.reason).where(of_these, table.c.reason.contains(subject_id, autoescape=True))
            for reason in connection.scalars(reasons.distinct()).all():
                told = pattern_of(subject_id).sub(lambda _: pseudonym, reason)
                connection.execute(table.update().where(of_these, table.c.reason == reason).values(reason=told))
    return named


def chunks_of(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many values at a time as one statement takes."""
    for start in range(0, len(values), _VALUES_AT_ONCE):
        yield values[start : start + _VALUES_AT_ONCE]


def pattern_of(name: str) -> re.Pattern[str]:
    """The name by itself, wherever it stands in a text."""
    return re.compile(NAME_BEGINS + re.escape(name) + NAME_ENDS)
