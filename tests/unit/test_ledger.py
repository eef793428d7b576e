import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contracts.errors import BadInput
from services.ledger import GENESIS, BrokenLedger, Head, Ledger
from services.signing import SigningKey

KEY = SigningKey(bytes(range(32)))


def write(folder, count=4) -> Ledger:
    ledger = Ledger(folder / "log.jsonl", KEY.public)
    for number in range(count):
        ledger.append({"number": number, "name": "Ärmel"}, KEY)
    return ledger


def test_what_was_appended_is_read_back_in_order_and_chained(tmp_path):
    ledger = write(tmp_path)
    entries = ledger.read()
    assert [entry.body["number"] for entry in entries] == [0, 1, 2, 3]
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
    assert entries[0].previous == GENESIS
    assert [entry.previous for entry in entries[1:]] == [entry.sha256 for entry in entries[:-1]]
    assert ledger.read_head() == Head(4, ledger.path.stat().st_size, entries[-1].sha256)


def test_nothing_is_made_by_reading(tmp_path):
    ledger = Ledger(tmp_path / "none" / "log.jsonl", KEY.public)
    assert ledger.read() == []
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_any_changed_byte_of_ledger_or_head_is_noticed(tmp_path_factory, data):
    ledger = write(tmp_path_factory.mktemp("ledger"), count=3)
    path = data.draw(st.sampled_from([ledger.path, ledger.head_path]))
    content = bytearray(path.read_bytes())
    index = data.draw(st.integers(0, len(content) - 1))
    content[index] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(BrokenLedger):
        ledger.read()


def test_a_newline_in_another_spelling_is_noticed(tmp_path):
    ledger = write(tmp_path)
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"\n", b"\r", 1))
    with pytest.raises(BrokenLedger):
        ledger.read()


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines[:-1], lines[-2]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:2], b"\n", *lines[2:]],
        lambda lines: [b"[" * 100_000 + b"\n", *lines[1:]],
    ],
    ids=["cut", "beheaded", "emptied", "reordered", "replaced", "repeated", "blank", "deep"],
)
def test_lines_cut_off_moved_or_repeated_are_noticed_by_reading_and_by_appending(tmp_path, damage):
    ledger = write(tmp_path)
    ledger.path.write_bytes(b"".join(damage(ledger.path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(BrokenLedger):
        ledger.read()


def test_appending_to_a_shortened_ledger_is_refused(tmp_path):
    ledger = write(tmp_path)
    ledger.path.write_bytes(ledger.path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(BrokenLedger, match="cut off"):
        ledger.append({}, KEY)


def test_without_its_head_a_ledger_proves_nothing(tmp_path):
    ledger = write(tmp_path)
    ledger.head_path.unlink()
    with pytest.raises(BrokenLedger, match="head is gone"):
        ledger.read()


def test_a_line_s_signature_is_no_head(tmp_path):
    ledger = write(tmp_path)
    first = ledger.path.read_bytes().splitlines(keepends=True)[0]
    ledger.path.write_bytes(first)
    head = json.loads(ledger.head_path.read_bytes())
    head |= {"entries": 1, "size_bytes": len(first), "signature": json.loads(first)["signature"]}
    ledger.head_path.write_bytes(json.dumps(head, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    with pytest.raises(BrokenLedger, match="not signed"):
        ledger.read()


def test_an_old_ledger_with_its_old_head_is_noticed_by_a_witness(tmp_path):
    ledger = write(tmp_path, count=2)
    old = {path: path.read_bytes() for path in (ledger.path, ledger.head_path)}
    ledger.append({"number": 2}, KEY)
    witness = ledger.read_head()
    assert len(ledger.read(witness=witness)) == 3
    for path, content in old.items():
        path.write_bytes(content)
    assert len(ledger.read()) == 2
    with pytest.raises(BrokenLedger, match="the witness"):
        ledger.read(witness=witness)


def test_another_key_neither_writes_nor_verifies(tmp_path):
    ledger, stranger = write(tmp_path), SigningKey(bytes(32))
    with pytest.raises(BadInput):
        ledger.append({}, stranger)
    with pytest.raises(BrokenLedger):
        Ledger(ledger.path, stranger.public).read()


def test_a_crash_between_line_and_head_loses_nothing(tmp_path):
    ledger = write(tmp_path, count=2)
    before = ledger.head_path.read_bytes()
    ledger.append({"number": 2}, KEY)
    ledger.head_path.write_bytes(before)
    assert len(ledger.read()) == 3
    assert ledger.append({"number": 3}, KEY).sequence == 4
    assert [entry.body["number"] for entry in ledger.read()] == [0, 1, 2, 3]


def test_a_crash_within_a_line_leaves_the_lines_before_it(tmp_path):
    ledger = write(tmp_path, count=2)
    with ledger.path.open("ab") as file:
        file.write(b'{"at":"20')
    assert len(ledger.read()) == 2
    ledger.append({"number": 2}, KEY)
    assert [entry.body["number"] for entry in ledger.read()] == [0, 1, 2]


def test_a_clock_set_back_does_not_turn_the_order_round(tmp_path):
    ledger = write(tmp_path, count=1)
    last = ledger.read()[0].at
    assert ledger.append({}, KEY, at=datetime.now(UTC) - timedelta(days=1)).at == last


APPENDING = """
import sys
from pathlib import Path
from services.ledger import Ledger
from services.signing import SigningKey
key = SigningKey(bytes(range(32)))
for _ in range(10):
    Ledger(Path(sys.argv[1]), key.public).append({}, key)
"""


def test_several_processes_may_append(tmp_path):
    path = tmp_path / "log.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", APPENDING, str(path)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert [entry.sequence for entry in Ledger(path, KEY.public).read()] == list(range(1, 31))
