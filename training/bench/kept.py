"""Kept tables: parts of a benchmark, each measured when the machine suits it, and one page of them all."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from training.bench.table import Bar, BenchTable, write_markdown
from training.runs import find_origin


def keep_tables(path: Path, tables: Sequence[BenchTable]) -> None:
    """Write a part's tables for later pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(table) for table in tables], indent=1) + "\n")


def recall_tables(path: Path) -> list[BenchTable]:
    """The tables of a part that was measured before; none where it never was."""
    if not path.is_file():
        return []
    return [
        BenchTable(
            **{
                **table,
                "columns": tuple(table["columns"]),
                "rows": tuple(tuple(row) for row in table["rows"]),
                "bars": tuple(Bar(**bar) for bar in table["bars"]),
                "remarks": tuple(table["remarks"]),
            }
        )
        for table in json.loads(path.read_text())
    ]


def write_page(
    path: Path, facts: dict[str, str], names: Sequence[str], work: Path, *, title: str, command: str
) -> None:
    """The latest tables of every part, in the order of `names`; each part's lie in `work`/NAME.json."""
    kept = [table for name in names for table in recall_tables(work / f"{name}.json")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write_markdown(facts, kept, title=title, command=command))


def tell_when(facts: dict[str, str]) -> str:
    """A remark: at which commit and load a part was measured."""
    commit = find_origin().git_commit
    changed = " with changes" if commit.endswith("-dirty") else ""
    return f"measured at commit {commit[:12]}{changed}, load {facts['load at the start']}"
