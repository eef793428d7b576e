"""The README's commands on the sample data, as a newcomer runs them."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.contracts.events import Analysis, Event

WHODID = str(Path(sys.executable).parent / "whodid")


@dataclass(frozen=True)
class Run:
    """What one `enroll` and one `analyze` left behind."""

    table: str
    folder: Path
    gallery: Path

    @property
    def analysis(self) -> Analysis:
        return Analysis.model_validate_json((self.folder / "analysis.json").read_bytes())


def whodid(*arguments: object) -> str:
    result = subprocess.run([WHODID, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, repository: Path, models: Path) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHODID_HOME", str(folder / "home"))
        patch.setenv("WHODID_MODELS", str(models))
        gallery = folder / "gallery.db"
        whodid("enroll", "--folder", repository / "data/enrol", "--gallery", gallery)
        (clip,) = (repository / "data/scenes/demo").glob("*.mp4")
        recorded = ("--camera", "yard", "--started-at", "2026-03-01T10:00:00+01:00")
        table = whodid("analyze", clip, "--gallery", gallery, "--out", folder / "out", *recorded)
        yield Run(table, folder / "out" / clip.stem, gallery)


@pytest.fixture(scope="module")
def cast(repository: Path) -> set[str]:
    manifest = json.loads((repository / "data/scenes/demo/manifest.json").read_text())
    return {person["subject_id"] for clip in manifest["clips"] for person in clip["people"]}


@pytest.fixture(scope="module")
def enrolled(repository: Path) -> set[str]:
    return {path.name for path in (repository / "data/enrol").iterdir() if path.is_dir()}


def test_everyone_enrolled_is_named_and_nobody_else(demo: Run, cast: set[str], enrolled: set[str]) -> None:
    named = {event.identity.subject_id for event in demo.analysis.events} - {None}
    assert named == cast & enrolled
    assert cast - enrolled, "the sample clip needs a stranger"
    assert any(event.identity.decision == "unknown" for event in demo.analysis.events)


def test_the_table_and_the_files_say_the_same(demo: Run) -> None:
    events = [Event.model_validate_json(line) for line in (demo.folder / "events.jsonl").read_text().splitlines()]
    assert tuple(events) == demo.analysis.events
    for event in events:
        assert event.action.name in demo.table
    assert str(demo.folder / "report.html") in demo.table.replace("\n", "")


def test_every_report_file_is_there_and_readable(demo: Run) -> None:
    assert {path.name for path in demo.folder.iterdir()} == {
        "analysis.json",
        "events.jsonl",
        "report.html",
        "annotated.mp4",
        "ava.csv",
        "tracks.mot.txt",
        "events.vtt",
    }
    with (demo.folder / "ava.csv").open(newline="") as file:
        assert all(len(row) == 8 for row in csv.reader(file))
    assert (demo.folder / "events.vtt").read_text().startswith("WEBVTT")


def test_events_can_be_searched_and_a_second_analysis_adds_none(demo: Run, repository: Path) -> None:
    def archived() -> list[str]:
        return whodid("events", "--json").splitlines()

    before = archived()
    assert len(before) == len(demo.analysis.events)
    (clip,) = (repository / "data/scenes/demo").glob("*.mp4")
    whodid("analyze", clip, "--gallery", demo.gallery, "--out", demo.folder.parent)
    assert archived() == before
    subject = next(e.identity.subject_id for e in demo.analysis.events if e.identity.subject_id)
    found = [json.loads(line) for line in whodid("events", "--who", subject, "--json").splitlines()]
    assert found
    assert {event["identity"]["subject_id"] for event in found} == {subject}


def test_the_past_is_searched_by_time_camera_company_and_face(demo: Run, repository: Path) -> None:
    def search(*options: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in whodid("events", *options, "--json").splitlines()]

    ids = {event.event_id for event in demo.analysis.events}
    assert all(event["started_at"].startswith("2026-03-01T09:00:") for event in search())
    minute = ("--between", "2026-03-01T10:00+01:00", "2026-03-01T09:01Z")
    assert {event["event_id"] for event in search("--camera", "yard", *minute)} == ids
    assert search("--camera", "yard", "--between", "2026-03-02", "2026-03-03") == []
    assert search("--camera", "gate") == []
    one, *_, other = sorted({event.identity.subject_id for event in demo.analysis.events if event.identity.subject_id})
    together = search("--who", one, "--with", other)
    assert {event["identity"]["subject_id"] for event in together} <= {one}
    picture = sorted((repository / "data/enrol" / one).glob("*.jpg"))[0]
    assert {event["identity"]["subject_id"] for event in search("--face", picture)} == {one}


def test_somebody_unknown_is_named_later_and_their_past_is_found(demo: Run, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery.db"
    for suffix in ("", ".key"):
        shutil.copy(f"{demo.gallery}{suffix}", f"{gallery}{suffix}")
    in_gallery = ("--gallery", gallery)
    strangers = json.loads(whodid("gallery", "strangers", "--json", *in_gallery))
    pseudonym = strangers[0]["pseudonym"]
    before = whodid("events", "--who", pseudonym, "--json", *in_gallery)
    assert before
    whodid("gallery", "name", pseudonym, "bo", *in_gallery)
    assert whodid("events", "--who", "bo", "--json", *in_gallery) == before
    whodid("gallery", "undo", *in_gallery)
    assert whodid("events", "--who", "bo", "--json", *in_gallery) == ""


def test_an_event_shows_its_pixels_and_old_ones_are_purged(demo: Run, tmp_path: Path) -> None:
    event = demo.analysis.events[0]
    whodid("show", event.event_id[:12], "--out", tmp_path / "event.png")
    assert (tmp_path / "event.png").stat().st_size > 10_000
    purge = ("archive", "purge", "--camera", "yard", "--json")
    counted = json.loads(whodid(*purge, "--older-than", "1d", "--dry-run"))
    assert (counted["analyses"], counted["events"]) == (1, len(demo.analysis.events))
    assert json.loads(whodid(*purge, "--older-than", "9999d", "--yes"))["analyses"] == 0


def test_a_subject_removed_is_a_stranger_from_then_on(demo: Run, repository: Path, tmp_path: Path) -> None:
    subject = next(e.identity.subject_id for e in demo.analysis.events if e.identity.subject_id)
    gallery = tmp_path / "gallery.db"
    for suffix in ("", ".key"):
        shutil.copy(f"{demo.gallery}{suffix}", f"{gallery}{suffix}")
    whodid("gallery", "remove", subject, "--yes", "--gallery", gallery)
    assert subject not in whodid("gallery", "list", "--gallery", gallery)
    (clip,) = (repository / "data/scenes/demo").glob("*.mp4")
    answer = json.loads(whodid("analyze", clip, "--gallery", gallery, "--out", tmp_path / "out", "--json"))
    assert subject not in {event["identity"]["subject_id"] for event in answer["events"]}


def test_the_doctor_finds_nothing_wrong(demo: Run) -> None:
    assert all(check["ok"] for check in json.loads(whodid("doctor", "--json")))


def test_every_verb_has_help() -> None:
    for verb in ("analyze", "enroll", "gallery", "models", "events", "show", "archive", "serve", "doctor"):
        assert "Usage" in whodid(verb, "--help")
