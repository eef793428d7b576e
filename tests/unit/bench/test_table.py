import io

import pytest
from rich.console import Console

from training.bench.table import Bar, BenchTable, Spread, print_table, write_markdown

TABLE = BenchTable(
    name="speed",
    title="speed: of things",
    protocol="Two [runs] each.",
    columns=("stage", "median"),
    rows=(("decode", 0.1234), ("a|b", 1234.5)),
    bars=(Bar("all", 0.9, "< 1", True), Bar("peak", 2.0, "< 1", False)),
    remarks=("one [odd] thing",),
)


def test_spread_is_of_all_runs() -> None:
    assert Spread.of([5.0, 1.0, 2.0, 4.0]) == Spread(1.0, 3.0, 5.0, 4)
    with pytest.raises(ValueError, match="no runs"):
        Spread.of([])


def test_a_printed_table_says_how_and_whether_the_bar_is_reached() -> None:
    out = io.StringIO()
    print_table(TABLE, Console(file=out, width=100))
    text = out.getvalue()
    assert "Two [runs] each." in text
    assert "met  all: 0.900 (bar: < 1)" in text
    assert "short  peak: 2.000 (bar: < 1)" in text
    assert "one [odd] thing" in text


def test_a_page_has_every_row_in_its_columns() -> None:
    page = write_markdown({"cpu": "abacus"}, [TABLE])
    assert "| cpu | abacus |" in page
    assert "| decode | 0.123 |" in page
    assert "| a/b | 1234 |" in page
    assert "| peak | 2.000 | < 1 | **short** |" in page


def test_a_table_without_bars_heads_no_empty_one():
    table = BenchTable("x", "what", "how", ("a",), ((1,),), ())
    assert "| bar |" not in write_markdown({}, [table])
