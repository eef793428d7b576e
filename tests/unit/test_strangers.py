"""From an analysis and its evidence to pseudonyms in the archive."""

from dataclasses import replace
from pathlib import Path

import pytest

from services import strangers
from services.archive.query import EventQuery
from services.archive.store import Archive
from services.contracts.events import Analysis
from services.contracts.tracks import TrackSummary
from services.gallery.growth import StrangerTail
from services.gallery.strangers import list_strangers
from services.settings import Settings, read_settings
from services.strangers import Acquaintance, open_strangers
from tests.unit.archive.histories import analysis_of, named
from tests.unit.bundles import Colour, write_bundle
from tests.unit.identity.test_identify import BLUE, EMBEDDER, GREEN

TAIL = StrangerTail(
    space="colour", subjects=2, searches=9000, shares=(0.5, 0.01), similarities=(0.8, 0.9), scale=0.01, shape=0
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(strangers, "find_shipped_tail", lambda _: TAIL)
    monkeypatch.setattr(Acquaintance, "_embedder", EMBEDDER)
    return read_settings()


def analyse(settings: Settings, clip: str, *colours: Colour) -> Analysis:
    """An analysis of unknown people, with their faces, on record."""
    made = analysis_of(clip, [(named(None), [("walk", 0.0, 3.0)]) for _ in colours])
    found = write_bundle(Path(settings.evidence) / clip, [(colour, 0.0, 3.0) for colour in colours])
    provenance = made.provenance.model_copy(update={"identity": (EMBEDDER.reference,)})
    tracks = tuple(
        report.model_copy(update={"track": TrackSummary(**{**summary.model_dump(), "faces": 3})})
        for report, summary in zip(made.tracks, found.tracks, strict=True)
    )
    events = tuple(
        event.model_copy(update={"track_id": report.track.track_id})
        for event, report in zip(sorted(made.events, key=lambda each: each.track_id), tracks, strict=True)
    )
    analysis = made.model_copy(
        update={"evidence": found.evidence, "provenance": provenance, "tracks": tracks, "events": events}
    )
    Archive(settings.archive).record(analysis)
    return analysis


def called(settings: Settings) -> set[str | None]:
    return {each.event.pseudonym for each in Archive(settings.archive).find_events(EventQuery(unknown=True))}


def test_the_unknown_of_two_clips_are_known_again(settings: Settings) -> None:
    first = Acquaintance(settings).meet(analyse(settings, "yard", BLUE, GREEN))
    again = Acquaintance(settings).meet(analyse(settings, "hall", GREEN))
    assert len(set(first.values())) == 2
    assert set(again.values()) < set(first.values())
    assert called(settings) == set(first.values())
    assert len(list_strangers(open_strangers(settings))) == 2


def test_the_same_analysis_again_meets_nobody_anew(settings: Settings) -> None:
    analysis = analyse(settings, "yard", BLUE)
    (pseudonym,) = Acquaintance(settings).meet(analysis).values()
    assert Acquaintance(settings).meet(analysis) == {}
    assert called(settings) == {pseudonym}


def test_turned_off_nothing_is_kept(settings: Settings) -> None:
    assert Acquaintance(replace(settings, strangers_days=0)).meet(analyse(settings, "yard", BLUE)) == {}
    assert not Path(settings.strangers).exists()
    assert called(settings) == {None}


def test_turned_off_later_those_remembered_are_forgotten(settings: Settings) -> None:
    Acquaintance(settings).meet(analyse(settings, "yard", BLUE))
    assert Acquaintance(replace(settings, strangers_days=0)).meet(analyse(settings, "hall", GREEN)) == {}
    assert list_strangers(open_strangers(settings)) == []


def test_what_cannot_be_told_apart_safely_is_not_and_costs_no_analysis(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strangers, "find_shipped_tail", lambda _: None)
    assert Acquaintance(settings).meet(analyse(settings, "yard", BLUE)) == {}
    assert "no pseudonyms: nobody measured how alike" in " ".join(capsys.readouterr().err.split())
    other = analyse(settings, "hall", BLUE)
    provenance = other.provenance.model_copy(update={"identity": other.provenance.tracks})
    assert Acquaintance(settings).meet(other.model_copy(update={"provenance": provenance})) == {}
    assert "not the one that looked at them" in " ".join(capsys.readouterr().err.split())
