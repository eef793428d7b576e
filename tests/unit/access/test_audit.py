import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.access.audit import AuditFailed, AuditLog
from services.access.caller import Caller
from services.ledger import BrokenLedger

ANALYST = Caller("analyst 7", "theft on Monday")


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.jsonl", tmp_path / "keys" / "signing.pem")


def everything_in(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_who_why_whom_and_against_which_gallery_is_read_back(log: AuditLog) -> None:
    log.record("lookup", ANALYST, subjects=["ada", "ben", "ada"], clip_id="c" * 64, gallery="9" * 64, outcome="found")
    (record,) = log.read()
    assert (record.sequence, record.verb, record.who, record.why) == (1, "lookup", "analyst 7", "theft on Monday")
    assert set(record.subjects) == {"ada", "ben"}
    assert record.facts == {"clip_id": "c" * 64, "gallery": "9" * 64, "outcome": "found"}


def test_the_log_itself_holds_no_name_and_no_purpose(log: AuditLog) -> None:
    log.record("lookup", ANALYST, subjects=["ada"])
    text = log.path.read_text()
    assert "ada" not in json.loads(text)["body"]["subjects"]
    assert "theft" not in text
    assert [path.stat().st_mode & 0o077 for path in log.path.parent.glob("audit*.db")] == [0]


def test_one_subject_has_one_pseudonym_and_two_logs_share_none(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other.jsonl", tmp_path / "keys" / "signing.pem")
    for each in (log, log, other):
        each.record("lookup", ANALYST, subjects=["ada"])
    here = [json.loads(line)["body"]["subjects"] for line in log.path.read_text().splitlines()]
    assert here[0] == here[1]
    assert here[0] != json.loads(other.path.read_text())["body"]["subjects"]


def test_a_forgotten_subject_is_nowhere_and_the_chain_holds(log: AuditLog, tmp_path: Path) -> None:
    log.record("lookup", ANALYST, subjects=["ada-lovelace", "ben"])
    log.record("search", Caller("analyst 7", "where was Ada-Lovelace?"))
    log.record("lookup", Caller("analyst 8", "lost luggage"), subjects=["ben"])
    assert b"ada-lovelace" in everything_in(tmp_path).lower()
    assert log.forget_subject("ada-lovelace") == 1
    assert b"ada-lovelace" not in everything_in(tmp_path).lower()
    first, second, third = log.read()
    assert "ben" in first.subjects
    assert any(subject.startswith("forgotten:") for subject in first.subjects)
    assert (first.why, second.why, third.why) == (None, None, "lost luggage")
    assert log.forget_subject("ada-lovelace") == 0


def test_asking_after_somebody_forgotten_does_not_bring_the_name_back(log: AuditLog, tmp_path: Path) -> None:
    log.record("enrol", ANALYST, subjects=["ada-lovelace"])
    log.record("search", ANALYST, subjects=["ada-lovelace"])
    assert [record.subjects for record in log.read()] == [("ada-lovelace",)] * 2
    log.forget_subject("ada-lovelace")
    log.record("search", ANALYST, subjects=["ada-lovelace"])
    assert b"ada-lovelace" not in everything_in(tmp_path)


def test_a_log_that_was_cut_takes_no_more_lines(log: AuditLog) -> None:
    log.record("lookup", ANALYST)
    log.path.write_bytes(b"")
    with pytest.raises(AuditFailed, match="cut off"):
        log.record("lookup", ANALYST)


def test_forgetting_that_was_interrupted_is_finished_by_the_next_run(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.record("lookup", ANALYST, subjects=["ada-lovelace"])
    with monkeypatch.context() as patch:
        patch.setattr(log._pseudonyms, "forget_subject", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.forget_subject("ada-lovelace")
    assert log.forget_subject("ada-lovelace") == 1
    assert b"ada-lovelace" not in everything_in(tmp_path)


def test_who_comes_back_after_being_forgotten_is_somebody_new(log: AuditLog) -> None:
    log.record("enrol", ANALYST, subjects=["ada"])
    log.forget_subject("ada")
    log.record("enrol", ANALYST, subjects=["ada"])
    first, second = log.read()
    assert first.subjects[0].startswith("forgotten:")
    assert second.subjects == ("ada",)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0], lines[0], lines[1], lines[2]],
        lambda lines: [lines[0].replace(b"analyst 7", b"analyst 8"), *lines[1:]],
        lambda lines: [*lines, lines[-1]],
    ],
    ids=["reordered", "end cut", "start cut", "emptied", "one taken out", "one doubled", "changed", "appended"],
)
def test_a_log_that_is_not_what_was_written_is_found_out(log: AuditLog, spoil) -> None:
    for why in ("one", "two", "three"):
        log.record("lookup", Caller("analyst 7", why))
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(spoil(lines)))
    with pytest.raises(BrokenLedger):
        list(log.read())


def test_a_log_taken_away_whole_is_found_out(log: AuditLog) -> None:
    log.record("lookup", ANALYST)
    log.path.unlink()
    with pytest.raises(BrokenLedger):
        list(log.read())


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = AuditLog(tmp_path / "file" / "audit.jsonl", tmp_path / "keys" / "signing.pem")
    with pytest.raises(AuditFailed, match="WHODID_AUDIT"):
        log.record("lookup", ANALYST)


def test_nothing_is_made_by_reading(log: AuditLog, tmp_path: Path) -> None:
    assert list(log.read()) == []
    assert log.forget_subject("ada") == 0
    assert list(tmp_path.iterdir()) == []


def test_several_processes_write_one_chain(log: AuditLog) -> None:
    code = (
        "import sys; from pathlib import Path; from services.access.audit import AuditLog; "
        "from services.access.caller import Caller\n"
        "log = AuditLog(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "for n in range(10): log.record('lookup', Caller(sys.argv[3]), subjects=[f's{n}'])"
    )
    command = [sys.executable, "-c", code, str(log.path), str(log.path.parent / "keys" / "signing.pem")]
    log.record("change", ANALYST)  # makes the key
    running = [subprocess.Popen([*command, name]) for name in ("one", "two", "three")]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    records = list(log.read())
    assert len(records) == 31
    assert {record.who for record in records} == {"analyst 7", "one", "two", "three"}
    assert {subject for record in records for subject in record.subjects} == {f"s{n}" for n in range(10)}
