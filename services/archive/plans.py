"""Plans: how the database would find an answer, so that a search which reads everything is seen before it is slow."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable


class _Explain(Executable, sa.ClauseElement):
    """A statement, to be explained in place of being run."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    words = "EXPLAIN QUERY PLAN" if compiler.dialect.name == "sqlite" else "EXPLAIN"
    return f"{words} {compiler.process(element.statement, **options)}"


def explain(connection: sa.Connection, statement: sa.Select[Any]) -> list[str]:
    """The database's own words for its plan, a step a line."""
    return [str(row[-1]) for row in connection.execute(_Explain(statement))]
