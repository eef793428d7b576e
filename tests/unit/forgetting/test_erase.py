import base64
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.archive.query import EventQuery
from services.archive.store import Archive, identify_analysis
from services.contracts.errors import BadInput, WhodidError
from services.contracts.events import Analysis
from services.contracts.tracks import EvidenceRef
from services.forgetting.certificate import check_certificate
from services.forgetting.erase import forget
from services.forgetting.scan import find_traces
from services.gallery.edits import Consent
from services.gallery.schema import flush_log
from services.gallery.sealing import name_key
from services.gallery.store import Gallery
from services.gallery.strangers import SeenTrack, list_strangers, meet, name_stranger
from services.perception.recording import EvidenceWriter
from services.settings import Settings, read_settings
from tests.unit.archive.histories import analysis_of, named
from tests.unit.gallery.samples import make_template

KILLS = 20


@dataclass(frozen=True)
class House:
    settings: Settings
    root: Path

    @property
    def gallery(self) -> Gallery:
        return Gallery.open(self.settings)

    def others(self) -> list[bytes]:
        found = Archive(self.settings.archive).find_events(EventQuery())
        return sorted(s.event.to_json() for s in found if s.event.identity.subject_id == "bo-the-other")

    def traces(self) -> list[str]:
        found = find_traces(
            self.settings, gallery=self.settings.gallery, names=["ada-lovelace", "countess-ada"], digests=TEMPLATES
        )
        return [trace.place for trace in found]


TEMPLATES = [make_template("ada-lovelace", 1).template_id, make_template("ada-lovelace", 2).template_id]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], House]:
    """Two people enrolled, seen alone and together, with bundles and reports."""

    def make(name: str) -> House:
        root = tmp_path / name
        monkeypatch.setenv("WHODID_HOME", str(root))
        settings = read_settings()
        gallery = Gallery.open(settings)
        gallery.enrol([make_template("ada-lovelace", 1), make_template("ada-lovelace", 2)])
        gallery.enrol([make_template("countess-ada", 3), make_template("bo-the-other", 4)])
        gallery.set_consent("ada-lovelace", Consent(basis="form"))
        gallery.merge("countess-ada", "ada-lovelace")
        archive = Archive(settings.archive)
        for number, (who, second) in enumerate(
            [("ada-lovelace", "bo-the-other"), ("bo-the-other", "ada-lovelace"), ("bo-the-other", None)]
        ):
            bundle = Path(settings.evidence) / f"{number}.zip"
            bundle.parent.mkdir(exist_ok=True)
            bundle.write_bytes(b"pictures")
            analysis = analysis_of(f"clip {number}", [(named(who, runner_up=second), [("wave", 0.0, 2.0)])])
            analysis = analysis.model_copy(
                update={"evidence": EvidenceRef(uri=bundle.as_uri(), sha256=analysis.evidence.sha256)}
            )
            folder = root / "reports" / str(number)
            folder.mkdir(parents=True)
            write_report(folder, analysis)
            archive.record(analysis, report_folder=folder)
        return House(settings, root)

    return make


def write_bundle_of(clip_id: str, path: Path) -> None:
    """A bundle that says of which clip it is, as `tracks` writes it."""
    with EvidenceWriter(path.parent.as_uri(), path.stem) as writer:
        writer.finish({"depends_on": {"clip_id": clip_id}, "tracks": []})


def write_report(folder: Path, analysis: Analysis) -> None:
    (folder / "analysis.json").write_bytes(analysis.to_json())
    (folder / "events.jsonl").write_bytes(b"".join(e.to_json() + b"\n" for e in analysis.events))
    (folder / "annotated.mp4").write_bytes(b"film")


def test_bundles_of_clips_that_the_subject_was_enrolled_from_go_though_nobody_was_named_there(
    build: Callable[[str], House],
) -> None:
    house = build("home")
    evidence = Path(house.settings.evidence)
    write_bundle_of(make_template("ada-lovelace", 1).source_sha256, evidence / "theirs.zip")
    write_bundle_of("f" * 64, evidence / "others.zip")
    (done,) = forget("ada-lovelace", house.settings)
    assert sorted(path.name for path in evidence.iterdir()) == ["1.zip", "2.zip", "others.zip"]
    assert done.certificate.counts["evidence_bundles"] == 2


def test_everything_of_the_subject_goes_and_everything_of_others_stays(build: Callable[[str], House]) -> None:
    house = build("home")
    others, before = house.others(), house.gallery.snapshot("space-a")
    assert house.traces()
    (done,) = forget("ada-lovelace", house.settings)
    assert house.traces() == []
    assert house.others() == [each.replace(b"ada-lovelace", done.certificate.pseudonym.encode()) for each in others]
    assert [each for each in house.others() if b"forgotten" not in each] == [
        each for each in others if b"ada" not in each
    ]
    assert [s.subject_id for s in house.gallery.list_subjects()] == ["bo-the-other"]
    assert (before.names, house.gallery.snapshot("space-a").names) == (
        ("ada-lovelace", "bo-the-other"),
        ("bo-the-other",),
    )
    assert sorted(path.name for path in Path(house.settings.evidence).iterdir()) == ["1.zip", "2.zip"]
    reports = house.root / "reports"
    assert sorted(path.name for path in reports.iterdir()) == ["1", "2"]
    assert done.certificate.pseudonym in (reports / "1" / "events.jsonl").read_text()
    assert (reports / "1" / "annotated.mp4").read_bytes() == b"film"
    counts = done.certificate.counts
    assert (counts["templates"], counts["events_pseudonymised"], counts["evidence_bundles"]) == (3, 1, 1)
    found = Archive(house.settings.archive).find_events(EventQuery(subject_id=done.certificate.pseudonym))
    assert len(list(found)) == 1


def test_the_certificate_is_signed_and_says_no_name(build: Callable[[str], House]) -> None:
    house = build("home")
    (done,) = forget("ada-lovelace", house.settings)
    assert b"lovelace" not in done.path.read_bytes()  # "ada" would be found by chance: there are digests in it
    assert check_certificate(done.path, house.settings.signing_key) == done.certificate
    changed = json.loads(done.path.read_text())
    changed["certificate"]["counts"]["templates"] = 99
    done.path.write_text(json.dumps(changed))
    with pytest.raises(BadInput, match="changed"):
        check_certificate(done.path, house.settings.signing_key)


def test_a_backup_of_the_gallery_cannot_be_read_any_more(build: Callable[[str], House]) -> None:
    house = build("home")
    flush_log(house.gallery.engine)
    backup = house.root / "backup.db"
    backup.write_bytes(Path(house.settings.gallery).read_bytes())
    forget("ada-lovelace", house.settings)
    (house.root / "backup.db.key").write_bytes(Path(house.settings.gallery + ".key").read_bytes())
    with pytest.raises(BadInput, match="does not hold"):
        Gallery(backup).list_subjects()


def test_a_key_from_the_environment_is_left_to_its_keeper_and_named(
    build: Callable[[str], House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHODID_KEY", base64.b64encode(bytes(32)).decode())
    house = build("home")
    (done,) = forget("ada-lovelace", house.settings)
    (key_id,) = done.certificate.keys_to_destroy
    assert key_id == name_key(bytes(32))
    assert [s.subject_id for s in house.gallery.list_subjects()] == ["bo-the-other"]


def test_who_is_unknown_is_refused_and_a_merged_name_says_whose_it_is(build: Callable[[str], House]) -> None:
    house = build("home")
    with pytest.raises(BadInput, match="nothing here knows 'nobody'"):
        forget("nobody", house.settings)
    with pytest.raises(BadInput, match="'countess-ada' was merged into 'ada-lovelace'"):
        forget("countess-ada", house.settings)
    forget("ada-lovelace", house.settings)
    with pytest.raises(BadInput, match="nothing here knows"):
        forget("ada-lovelace", house.settings)


def test_a_name_somewhere_nobody_expected_it_is_found_and_named(build: Callable[[str], House]) -> None:
    house = build("home")
    stray = Path(house.settings.evidence) / "notes.txt"
    stray.write_text('{"who": "ada-lovelace"}')
    with pytest.raises(WhodidError, match=r"'ada-lovelace' is left in .*notes\.txt"):
        forget("ada-lovelace", house.settings)
    stray.unlink()
    assert len(forget("ada-lovelace", house.settings)) == 1  # goes on where it stopped
    assert house.traces() == []


def test_whose_name_begins_or_ends_like_theirs_is_another_person(build: Callable[[str], House]) -> None:
    house = build("home")
    others = ("ada-lovelace-2", "dr.ada-lovelace", "ada-lovelace@home")
    archive, folder = Archive(house.settings.archive), house.root / "reports" / "others"
    analysis = analysis_of("others", [(named(who), [("wave", 0.0, 2.0)]) for who in others])
    folder.mkdir()
    write_report(folder, analysis)
    archive.record(analysis, report_folder=folder)
    forget("ada-lovelace", house.settings)
    assert house.traces() == []
    assert (folder / "analysis.json").read_bytes() == analysis.to_json()
    found = archive.find_events(EventQuery(clip_id=analysis.clip.clip_id))
    assert sorted(sighting.event.identity.subject_id or "" for sighting in found) == sorted(others)


def stranger_in(house: House, number: int, vector_of: int) -> str:
    """Somebody unknown walks through a clip of their own, and is remembered."""
    bundle, archive = Path(house.settings.evidence) / f"stranger-{number}.zip", Archive(house.settings.archive)
    bundle.write_bytes(b"pictures")
    analysis = analysis_of(f"stranger {number}", [(named(None), [("walk", 0.0, 2.0)])])
    analysis = analysis.model_copy(
        update={"evidence": EvidenceRef(uri=bundle.as_uri(), sha256=analysis.evidence.sha256)}
    )
    archive.record(analysis)
    face = make_template("", vector_of)
    seen = SeenTrack("t1", 0.0, 2.0, face.embedding.vector, (face,))
    strangers = Gallery.open(house.settings, house.settings.strangers)
    called = meet(strangers, [seen], similarity_among=lambda _: 0.99, keep=timedelta(days=1))
    archive.call_strangers(identify_analysis(analysis.clip.clip_id, analysis.provenance), called)
    return called["t1"]


def left_of(house: House, pseudonym: str) -> list[str]:
    found = find_traces(house.settings, gallery=house.settings.gallery, names=[pseudonym])
    return [trace.place for trace in found]


def test_who_was_unknown_before_they_were_named_is_forgotten_with_that_past(build: Callable[[str], House]) -> None:
    house = build("home")
    pseudonym, another = stranger_in(house, 1, vector_of=21), stranger_in(house, 2, vector_of=22)
    strangers = Gallery.open(house.settings, house.settings.strangers)
    name_stranger(house.gallery, strangers, pseudonym, "ada-lovelace")
    assert left_of(house, pseudonym)
    backup = house.root / "backup.db"
    flush_log(strangers.engine)
    backup.write_bytes(Path(house.settings.strangers).read_bytes())
    (done,) = forget("ada-lovelace", house.settings)
    assert house.traces() == left_of(house, pseudonym) == []
    assert done.certificate.counts["events_pseudonymised"] == 2
    assert not (Path(house.settings.evidence) / "stranger-1.zip").exists()
    assert (Path(house.settings.evidence) / "stranger-2.zip").exists()
    assert [each.pseudonym for each in list_strangers(strangers)] == [another]
    (house.root / "backup.db.key").write_bytes(Path(house.settings.strangers + ".key").read_bytes())
    with pytest.raises(BadInput, match="does not hold"):
        list_strangers(Gallery(backup))


def test_somebody_who_never_was_named_can_be_forgotten_by_their_pseudonym(build: Callable[[str], House]) -> None:
    house = build("home")
    pseudonym, another = stranger_in(house, 1, vector_of=21), stranger_in(house, 2, vector_of=22)
    (done,) = forget(pseudonym, house.settings)
    assert left_of(house, pseudonym) == []
    assert left_of(house, another)
    found = Archive(house.settings.archive).find_events(EventQuery(unknown=True))
    assert {each.event.pseudonym for each in found} == {done.certificate.pseudonym, another}
    assert [s.subject_id for s in house.gallery.list_subjects()] == ["ada-lovelace", "bo-the-other"]


def test_the_scan_sees_pages_that_no_table_uses(build: Callable[[str], House]) -> None:
    house = build("home")
    forget("ada-lovelace", house.settings)
    with Path(house.settings.archive).open("ab") as file:
        file.write(bytes(100) + b"ada-lovelace" + bytes(4096 - 112))
    assert house.traces() == [house.settings.archive]


def test_killed_at_any_point_the_next_run_finishes(build: Callable[[str], House]) -> None:
    """SIGKILL after a random number of function calls, in a process of its own, again and again."""
    calls = count_calls(build("counted"))
    random_points, killed = random.Random(7), 0
    for number in range(KILLS):
        house = build(f"killed-{number}")
        others = house.others()
        child = os.fork()
        if child == 0:
            run_until(house, random_points.randrange(calls))
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        killed += os.WIFSIGNALED(status)
        if house.traces() or list(house.settings.forgetting.glob("*.journal")):
            forget("ada-lovelace", house.settings)
        assert house.traces() == [], number
        certificates = list(house.settings.forgetting.glob("forgotten-*.json"))
        assert certificates
        counts = check_certificate(certificates[-1], house.settings.signing_key).counts
        assert (counts["templates"], counts["events_pseudonymised"]) == (3, 1), number
        names = [path.stem for path in certificates]
        assert [text(each, names) for each in house.others()] == [text(each, ["ada-lovelace"]) for each in others]
        assert [s.subject_id for s in house.gallery.list_subjects()] == ["bo-the-other"]
        assert not list(house.settings.forgetting.glob("*.journal"))
    assert killed >= KILLS - 2  # the count of calls differs a little from run to run


def text(event: bytes, names: list[str]) -> bytes:
    for name in names:
        event = event.replace(name.encode(), b"NAME")
    return event


def count_calls(house: House) -> int:
    calls = 0

    def count(_frame: object, kind: str, _argument: object) -> None:
        nonlocal calls
        calls += kind in ("call", "c_call")

    sys.setprofile(count)
    try:
        forget("ada-lovelace", house.settings)
    finally:
        sys.setprofile(None)
    return calls


def run_until(house: House, last_call: int) -> None:
    left = last_call

    def count(_frame: object, kind: str, _argument: object) -> None:
        nonlocal left
        left -= kind in ("call", "c_call")
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    forget("ada-lovelace", replace(house.settings))
    os._exit(0)
