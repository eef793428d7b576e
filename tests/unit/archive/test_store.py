from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from services.archive.query import EventQuery
from services.archive.store import Archive
from services.contracts.errors import BadInput, BadUsage
from services.contracts.events import Analysis
from tests.unit.archive.histories import analysis_of, named

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def yard(**details: object) -> Analysis:
    people = [
        (named("ada", runner_up="bo"), [("walk", 0.0, 4.0), ("wave", 4.0, 9.1)]),
        (named(None, runner_up="ada"), [("fall", 2.0, 5.0)]),
    ]
    return analysis_of("yard", people, **details)


def test_a_retry_never_doubles_an_event(location: str) -> None:
    archive = Archive(location)
    assert archive.record(yard()) == 3
    assert archive.record(yard()) == 0
    assert [sighting.event for sighting in archive.find_events()] == list(yard().events)


def test_an_event_comes_back_byte_for_byte(location: str) -> None:
    analysis = yard(camera_id="gate", started_at=NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    Archive(location).record(analysis)
    assert [sighting.event.to_json() for sighting in Archive(location).find_events()] == [
        event.to_json() for event in analysis.events
    ]


def test_a_date_and_a_camera_forgotten_at_first_can_be_added(location: str) -> None:
    archive = Archive(location)
    archive.record(yard())
    dated = yard(camera_id="gate", started_at=NOON)
    assert archive.record(dated) == 0
    assert [sighting.event for sighting in archive.find_events(EventQuery(camera_id="gate"))] == list(dated.events)
    # A later analysis that does not know them takes nothing away.
    assert archive.record(yard()) == 0
    assert [sighting.event for sighting in archive.find_events(EventQuery(from_time=NOON))] == list(dated.events)


def test_a_clock_that_was_never_set_is_refused_and_nothing_is_stored(location: str) -> None:
    archive = Archive(location)
    with pytest.raises(BadInput, match=r"1970.*clock"):
        archive.record(yard(started_at=datetime(1970, 1, 1, tzinfo=UTC)))
    assert list(archive.find_events()) == []


def test_an_erased_name_is_nowhere_and_does_not_come_back(location: str) -> None:
    archive = Archive(location)
    archive.record(yard())
    archive.record(analysis_of("hall", [(named("bo"), [("run", 1.0, 2.0)])]))
    assert archive.pseudonymise_subject("ada", "erased-1") == 2
    assert archive.pseudonymise_subject("ada", "erased-1") == 0
    assert archive.record(yard()) == 0
    events = [sighting.event for sighting in archive.find_events()]
    assert not [event for event in events if "ada" in event.to_json().decode()]
    assert {event.identity.subject_id for event in events} == {"erased-1", "bo", None}
    assert archive.find_analyses(subject_id="ada") == []
    # What others did, and what was done, is untouched.
    assert {event.event_id for event in events} > {event.event_id for event in yard().events}


@pytest.mark.parametrize("other", ["adam", "ada-2", "x-ada", "ada_2", "ada.b", "ada@home", "o'ada", "adaé"])
def test_a_name_in_a_reason_is_erased_and_one_that_contains_it_is_not(location: str, other: str) -> None:
    doubt = {"subject_id": None, "decision": "abstained", "reason": f"ada and {other} are too close to tell apart"}
    alone = {**doubt, "reason": f"{other} is more surely track t1 at the same time"}
    archive = Archive(location)
    archive.record(analysis_of("doubt", [(named("x").model_copy(update=doubt), [("walk", 0.0, 1.0)])]))
    archive.record(analysis_of("other", [(named("x").model_copy(update=alone), [("walk", 0.0, 1.0)])]))
    assert len(archive.find_analyses(subject_id="ada")) == 1
    assert archive.find_analyses(subject_id="Ad") == []
    assert archive.pseudonymise_subject("ada", "erased-1") == 0
    reasons = {sighting.event.identity.reason for sighting in archive.find_events()}
    assert reasons == {f"erased-1 and {other} are too close to tell apart", alone["reason"]}
    assert archive.find_analyses(subject_id="ada") == []


def test_a_stranger_is_found_by_pseudonym_and_by_the_name_they_were_given(location: str) -> None:
    archive = Archive(location)
    analyses = [
        analysis_of(clip, [(named(None), [("walk", 1.0, 4.0)]), (named("bo"), [("wave", 2.0, 3.0)])])
        for clip in ("yard", "hall", "gate")
    ]
    for analysis in analyses:
        archive.record(analysis)
    ids = {each.clip.clip_id: each.analysis_id for each in archive.find_analyses()}
    called = {"yard": "unknown-0000000a", "hall": "unknown-0000000a", "gate": "unknown-0000000b"}
    for analysis, pseudonym in zip(analyses, called.values(), strict=True):
        archive.call_strangers(ids[analysis.clip.clip_id], {"t1": pseudonym})
        archive.call_strangers(ids[analysis.clip.clip_id], {"t1": "unknown-later"})  # whoever has one keeps it
        archive.record(analysis)  # a retry takes nothing away

    def events(**asked: object) -> list[tuple[str, str | None]]:
        found = archive.find_events(EventQuery(**asked))
        return sorted((sighting.event.action.name, sighting.event.pseudonym) for sighting in found)

    a, b = ("walk", "unknown-0000000a"), ("walk", "unknown-0000000b")
    assert events(unknown=True) == [a, a, b]
    assert events(subject_id="unknown-0000000a", pseudonyms=["unknown-0000000a"]) == [a, a]
    assert len(events(subject_id="ada", pseudonyms=list(set(called.values())), limit=2)) == 2
    assert events(subject_id="bo", pseudonyms=["unknown-0000000b"]) == [b, *[("wave", None)] * 3]
    assert events(subject_id="bo", with_subject_id="ada", with_pseudonyms=["unknown-0000000b"]) == [("wave", None)]
    assert archive.count_pseudonyms() == {"unknown-0000000a": 2, "unknown-0000000b": 1}
    # What was recorded is the same, but for what somebody was called.
    (plain,) = archive.find_events(EventQuery(clip_id=analyses[2].clip.clip_id, unknown=True))
    assert plain.event.model_copy(update={"pseudonym": None}) == analyses[2].events[0]
    assert archive.pseudonymise_subject("unknown-0000000a", "forgotten-1") == 2
    assert archive.find_recognised("unknown-0000000a") == set()
    assert events(unknown=True) == [("walk", "forgotten-1"), ("walk", "forgotten-1"), b]


def test_an_erased_name_is_on_no_page_of_the_file(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.db")
    name = "augusta-ada-byron-countess"
    for number in range(40):
        archive.record(analysis_of(f"clip {number}", [(named(name, runner_up="bo"), [("walk", 0.0, 4.0)])]))
    archive.pseudonymise_subject(name, "e1")
    assert not [path for path in tmp_path.iterdir() if b"byron" in path.read_bytes()]


def test_what_lies_outside_is_known_by_analysis(location: str, tmp_path: Path) -> None:
    archive = Archive(location)
    archive.record(yard(), report_folder=tmp_path / "one")
    archive.record(yard(), report_folder=tmp_path / "two")
    idle = analysis_of("idle", [(named("ada"), [])])
    archive.record(idle, report_folder=tmp_path / "idle")
    found = archive.find_analyses(subject_id="ada")
    assert [record.reports for record in found] == [(tmp_path / "one", tmp_path / "two"), (tmp_path / "idle",)]
    assert [record.evidence for record in found] == [(yard().evidence,), (idle.evidence,)]
    assert [record.provenance for record in found] == [yard().provenance, idle.provenance]


def test_removing_an_analysis_takes_its_events_and_no_others(location: str) -> None:
    archive = Archive(location)
    archive.record(yard())
    other = analysis_of("hall", [(named("bo"), [("run", 1.0, 2.0)])])
    archive.record(other)
    (record,) = archive.find_analyses(clip_id=yard().clip.clip_id)
    assert archive.remove([record.analysis_id]) == 3
    assert [sighting.event for sighting in archive.find_events()] == list(other.events)
    assert archive.record(yard()) == 3


def test_an_event_is_found_by_the_beginning_of_its_id(location: str) -> None:
    archive = Archive(location)
    archive.record(yard())
    event = yard().events[1]
    assert archive.find_event(event.event_id[:11]).event == event
    with pytest.raises(BadInput, match="no event begins with 00000000"):
        archive.find_event("00000000")
    with pytest.raises(BadUsage, match="hexadecimal"):
        archive.find_event("what?")


def test_an_archive_nobody_wrote_is_empty_and_is_not_made_by_looking(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "none.db")
    assert list(archive.find_events()) == []
    assert archive.find_analyses() == []
    assert archive.pseudonymise_subject("ada", "x") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(BadInput, match=r"notes\.txt is not a readable archive"):
        list(Archive(path).find_events())


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    archive = Archive("postgresql://whodid:secret@127.0.0.1:1/archive")
    with pytest.raises(BadInput, match=r"127\.0\.0\.1:1/archive") as caught:
        archive.record(yard())
    assert "secret" not in str(caught.value)
