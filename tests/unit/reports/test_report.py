import errno
import json
from pathlib import Path

import numpy as np
import pytest

from services.contracts.errors import BadUsage, WhodidError
from services.contracts.events import Analysis, Event
from services.perception.decode import decode
from services.reports import report
from services.reports.report import FILE_NAMES, write_report
from tests.unit.reports.analyses import UNKNOWN, analysis_of, match
from tests.unit.reports.bundles import standing_still, write_bundle, write_clip

FACE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "yard.mp4"
    write_clip(path, seconds=2, rate_fps=25, size_px=(320, 240))
    return path


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    people = [
        (match("ana"), 0.0, 2.0, [("walk", 0.0, 1.5, 0.8)]),
        (UNKNOWN, 0.2, 1.8, [("wave", 0.5, 1.0, 0.7)]),
    ]
    bare = analysis_of(people, seconds=2, size_px=(320, 240))
    evidence = write_bundle(tmp_path / "bundle.zip", standing_still(bare), {"1": FACE, "2": FACE})
    return bare.model_copy(update={"evidence": evidence})


def test_writes_everything_it_names(analysis: Analysis, clip: Path, tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    paths = write_report(analysis, clip, tmp_path / "out" / "yard", on_progress=lambda *done: told.append(done))
    assert {entry.name for entry in paths.folder.iterdir()} == set(FILE_NAMES.values())
    assert [entry.name for entry in paths.folder.parent.iterdir()] == ["yard"]
    assert Analysis.model_validate_json(paths.analysis.read_bytes()) == analysis
    lines = paths.events.read_bytes().splitlines(keepends=True)
    assert lines == [event.to_json() + b"\n" for event in analysis.events]
    assert [Event.model_validate(json.loads(line)) for line in lines] == list(analysis.events)
    assert told[-1][0] == pytest.approx(2, abs=0.1)
    assert told[-1][1] == 2


def test_video_lasts_as_long_as_the_clip(analysis: Analysis, clip: Path, tmp_path: Path) -> None:
    paths = write_report(analysis, clip, tmp_path / "yard")
    with decode(paths.video) as frames:
        pictures = [frame.pts_seconds for frame in frames]
        assert frames.clip.width_px == 320
        assert frames.clip.height_px > 240
    assert pictures[0] == 0
    assert pictures[-1] == pytest.approx(2, abs=0.1)


def test_same_analysis_same_bytes(analysis: Analysis, clip: Path, tmp_path: Path) -> None:
    first, second = (write_report(analysis, clip, tmp_path / where / "yard").folder for where in "ab")
    for name in FILE_NAMES.values():
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("bang")])
def test_earlier_report_outlives_a_failure(
    analysis: Analysis, clip: Path, tmp_path: Path, fault: BaseException
) -> None:
    folder = write_report(analysis, clip, tmp_path / "out" / "yard").folder
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}

    def stop(done: float, total: float) -> None:
        if done > total / 2:
            raise fault

    with pytest.raises(type(fault)):
        write_report(analysis.model_copy(update={"warnings": ("new",)}), clip, folder, on_progress=stop)
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["yard"]


def test_later_report_replaces_the_earlier(analysis: Analysis, clip: Path, tmp_path: Path) -> None:
    folder = write_report(analysis, clip, tmp_path / "out" / "yard").folder
    paths = write_report(analysis.model_copy(update={"warnings": ("new",)}), clip, folder)
    assert "new" in paths.page.read_text()
    assert [entry.name for entry in folder.parent.iterdir()] == ["yard"]


def test_never_deletes_what_is_not_a_report(analysis: Analysis, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "yard"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(BadUsage, match=r"thesis\.txt"):
        write_report(analysis, clip, folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_full_disk_names_the_folder_and_the_remedy(
    analysis: Analysis, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "annotate_clip", fail)
    with pytest.raises(WhodidError, match=r"yard.*free some"):
        write_report(analysis, clip, tmp_path / "out" / "yard")
    assert list((tmp_path / "out").iterdir()) == []
