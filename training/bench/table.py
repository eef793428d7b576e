"""Tables: what was measured, how, and the bar beside it. For a terminal, a page and a machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of one measurement, in the unit of its column."""

    minimum: float
    median: float
    maximum: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one value or more.

        Raises:
            ValueError: There is none.
        """
        if not values:
            raise ValueError("no runs, so no spread: measure at least once")
        return cls(min(values), float(np.median(values)), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure should reach, beside what it is."""

    name: str
    measured: Cell
    wanted: str
    met: bool


@dataclass(frozen=True, slots=True)
class BenchTable:
    """One benchmark's outcome.

    Attributes:
        name: Its word on the command line.
        title: What is measured.
        protocol: How, in sentences.
        columns: Headings, with units.
        rows: As long as `columns`.
        bars: What should be reached.
        remarks: Single findings, one a line.
    """

    name: str
    title: str
    protocol: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    bars: tuple[Bar, ...]
    remarks: tuple[str, ...] = ()


def print_table(table: BenchTable, console: Console) -> None:
    """Show the protocol, the figures, the bars and the remarks."""
    _print_rows(console, table.title, table.columns, table.rows)
    console.print(f"[dim]{escape(table.protocol)}[/dim]")
    for bar in table.bars:
        verdict = "[green]met[/green]" if bar.met else "[red]short[/red]"
        console.print(f"{verdict}  {escape(bar.name)}: {format_cell(bar.measured)} (bar: {escape(bar.wanted)})")
    for remark in table.remarks:
        console.print(f"  {escape(remark)}")
    console.print()


def print_facts(facts: dict[str, str], console: Console) -> None:
    """Show what the figures depend on."""
    _print_rows(console, "machine", ("", ""), tuple(facts.items()))


def write_markdown(
    facts: dict[str, str],
    tables: Sequence[BenchTable],
    *,
    title: str = "Runtime benchmarks",
    command: str = "python -m training.bench",
) -> str:
    """The same as a page, headed by what wrote it."""
    lines = [f"# {title}", "", f"Written by `{command} --markdown FILE`; do not edit.", ""]
    lines += _markdown_rows(("machine", ""), tuple(facts.items()))
    for table in tables:
        lines += ["", f"## {table.title}", "", table.protocol, ""]
        lines += _markdown_rows(table.columns, table.rows)
        bars = [
            (bar.name, format_cell(bar.measured), bar.wanted, "met" if bar.met else "**short**") for bar in table.bars
        ]
        lines += ["", *_markdown_rows(("bar", "measured", "wanted", ""), bars)] if bars else []
        lines += ["", *(f"- {remark}" for remark in table.remarks)] if table.remarks else []
    return "\n".join(lines) + "\n"


def format_cell(cell: Cell) -> str:
    """A figure with as many decimals as its size deserves.

    >>> [format_cell(cell) for cell in (3, 0.1234, 12.345, 1234.5, "-")]
    ['3', '0.123', '12.3', '1234', '-']
    """
    if not isinstance(cell, float):
        return str(cell)
    size = abs(cell)
    return f"{cell:.3f}" if size < 10 else f"{cell:.1f}" if size < 1000 else f"{cell:.0f}"


def _print_rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    shown = Table(title=escape(title), title_justify="left", show_header=any(columns))
    for position, column in enumerate(columns):
        shown.add_column(escape(column), justify="left" if position == 0 or not any(columns) else "right")
    for row in rows:
        shown.add_row(*(escape(format_cell(cell)) for cell in row))
    console.print(shown)


def _markdown_rows(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return lines + [f"| {' | '.join(format_cell(cell).replace('|', '/') for cell in row)} |" for row in rows]
