import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from services.archive.query import EventQuery
from services.archive.store import Archive
from services.contracts.errors import BadInput, BadUsage
from services.contracts.events import Analysis
from services.gallery.store import Gallery
from services.gallery.strangers import SeenTrack, list_strangers, meet
from services.history import FORMATS, Purged, parse_age, parse_moment, purge
from services.reports.report import FILE_NAMES
from tests.unit.archive.histories import analysis_of, named
from tests.unit.gallery.samples import make_template
from tests.unit.reports.bundles import write_bundle

NOW = datetime.now(UTC)


def with_evidence(analysis: Analysis, folder: Path, name: str) -> Analysis:
    """The analysis with a bundle in which everyone stands still."""
    boxes = {
        report.track.track_id: (np.arange(0, 10, 0.5).tolist(), np.tile([16.0, 12, 32, 48], (20, 1)))
        for report in analysis.tracks
    }
    evidence = write_bundle(folder / f"{name}.zip", boxes, {})
    provenance = analysis.provenance.model_copy(update={"evidence_sha256": evidence.sha256})
    events = tuple(event.model_copy(update={"provenance": provenance}) for event in analysis.events)
    return analysis.model_copy(update={"evidence": evidence, "provenance": provenance, "events": events})


def write_report(folder: Path, analysis: Analysis) -> Path:
    folder.mkdir(parents=True)
    (folder / FILE_NAMES["analysis"]).write_bytes(analysis.to_json())
    (folder / FILE_NAMES["page"]).write_text("<html>")
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path / "archive.db")
    people = [(named("=ada, b"), [("walk", 1.0, 4.0)]), (named(None), [("fall", 2.0, 5.0)])]
    archive.record(
        with_evidence(
            analysis_of("yard", people, camera_id="gate", started_at=NOW - timedelta(days=40)), tmp_path, "yard"
        )
    )
    return archive


def export(archive: Archive, form: str, query: EventQuery | None = None) -> str:
    return "".join(FORMATS[form](archive.find_events(query), archive))


def test_csv_has_one_row_an_event_whatever_the_name(archive: Archive) -> None:
    rows = list(csv.DictReader(io.StringIO(export(archive, "csv"))))
    assert [(row["subject_id"], row["action"], row["clip"]) for row in rows] == [
        ("=ada, b", "walk", "yard.mp4"),
        ("", "fall", "yard.mp4"),
    ]
    assert datetime.fromisoformat(rows[0]["started_at"]) == NOW - timedelta(days=40) + timedelta(seconds=1)
    assert float(rows[1]["similarity"]) == 0.1 + 0.2


def test_jsonl_is_the_events_themselves(archive: Archive) -> None:
    assert export(archive, "jsonl").encode() == b"".join(s.event.to_json() + b"\n" for s in archive.find_events())


def test_ava_takes_boxes_from_the_evidence_and_numbers_from_the_analysis(archive: Archive) -> None:
    rows = list(csv.reader(io.StringIO(export(archive, "ava", EventQuery(unknown=True)))))
    box = ["0.250", "0.250", "0.500", "1.000"]
    assert rows == [["yard", f"000{second}", *box, "fall", "2"] for second in (2, 3, 4)]


def test_ava_says_that_the_evidence_is_gone(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "yard.zip").unlink()
    with pytest.raises(BadInput, match=r"yard\.zip.*analyse the clip again"):
        export(archive, "ava")


def test_webvtt_is_of_one_clip(archive: Archive) -> None:
    assert "00:00:01.000 --> 00:00:04.000\n=ada, b: walk" in export(archive, "webvtt")
    archive.record(analysis_of("hall", [(named("bo"), [("run", 1.0, 2.0)])]))
    with pytest.raises(BadUsage, match="--clip"):
        export(archive, "webvtt")


def test_a_purge_takes_what_is_old_of_one_camera_with_its_files(archive: Archive, tmp_path: Path) -> None:
    (old,) = archive.find_analyses()
    everyone = [(named("bo"), [("run", 1.0, 2.0)])]
    kept = {
        "young": analysis_of("young", everyone, camera_id="gate", started_at=NOW - timedelta(days=20)),
        "other": analysis_of("other", everyone, camera_id="yard", started_at=NOW - timedelta(days=90)),
        "undated": analysis_of("undated", everyone, camera_id="gate"),
    }
    for name, analysis in kept.items():
        kept[name] = with_evidence(analysis, tmp_path, name)
        archive.record(kept[name], report_folder=write_report(tmp_path / "out" / name, kept[name]))
    strangers = Gallery(tmp_path / "strangers.db")
    purge_all = {"camera_id": "gate", "older_than": timedelta(days=30), "strangers": strangers}
    for number, clip in enumerate((old.clip, kept["young"].clip)):
        each = replace(make_template("", number), source_sha256=clip.clip_id)
        seen = SeenTrack("t1", 0, 1, each.embedding.vector, (each,))
        meet(strangers, [seen], similarity_among=lambda _: 0.99, keep=timedelta(days=1))
    assert purge(archive, **purge_all, dry_run=True) == Purged(analyses=1, events=2, bundles=1, reports=0)
    assert (tmp_path / "yard.zip").exists()
    assert purge(archive, **purge_all) == Purged(analyses=1, events=2, bundles=1, reports=0)
    assert purge(archive, **purge_all) == Purged(analyses=0, events=0, bundles=0, reports=0)
    assert not (tmp_path / "yard.zip").exists()
    assert archive.find_analyses(analysis_id=old.analysis_id) == []
    assert len(list_strangers(strangers)) == 1  # the face from the clip that stays
    assert all((tmp_path / f"{name}.zip").exists() and (tmp_path / "out" / name).is_dir() for name in kept)
    assert {s.clip.clip_id for s in archive.find_events()} == {a.clip.clip_id for a in kept.values()}
    assert b"yard.mp4" not in (tmp_path / "archive.db").read_bytes()


def test_a_purge_leaves_a_bundle_that_a_later_analysis_reads_and_a_report_of_another_clip(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.db")
    everyone = [(named("bo"), [("run", 1.0, 2.0)])]
    old = with_evidence(
        analysis_of("yard", everyone, camera_id="gate", started_at=NOW - timedelta(days=40)), tmp_path, "yard"
    )
    # The same clip against another gallery, with its date corrected.
    young = old.model_copy(
        update={
            "clip": old.clip.model_copy(update={"started_at": NOW}),
            "provenance": old.provenance.model_copy(update={"gallery": None}),
            "events": (),
        }
    )
    folder = write_report(tmp_path / "out", analysis_of("hall", everyone))
    archive.record(old, report_folder=folder)
    archive.record(young)
    strangers = Gallery(tmp_path / "strangers.db")
    purged = purge(archive, camera_id="gate", older_than=timedelta(days=30), strangers=strangers)
    assert (purged.analyses, purged.bundles, purged.reports) == (1, 0, 0)
    assert (tmp_path / "yard.zip").exists()
    assert (folder / FILE_NAMES["page"]).exists()


@pytest.mark.parametrize("text", ["", "30", "30 d", "-3d", "1y", "9999999d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="12h, 30d or 8w"):
        parse_age(text)


def test_moments_and_ages() -> None:
    assert parse_age("36h") == timedelta(days=1.5)
    assert parse_moment("2026-03-01T10:02:13+01:00") == datetime(2026, 3, 1, 9, 2, 13, tzinfo=UTC)
    assert parse_moment("2026-03-01").tzinfo is not None
    with pytest.raises(BadUsage, match="nothing here is as old"):
        parse_age("9999w")
    with pytest.raises(BadUsage, match="no moment"):
        parse_moment("yesterday")
