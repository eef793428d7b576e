from pathlib import Path

import pytest

from services.settings import read_settings


def test_everything_lies_under_the_chosen_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "h"))
    settings = read_settings()
    assert settings.models == tmp_path / "h" / "models"
    assert {Path(settings.gallery).parent, Path(settings.archive).parent} == {tmp_path / "h"}
    assert list(tmp_path.iterdir()) == []


def test_one_part_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHODID_HOME", str(tmp_path))
    monkeypatch.setenv("WHODID_GALLERY", "postgresql://host/gallery")
    assert read_settings().gallery == "postgresql://host/gallery"


def test_the_shipped_graph_is_there() -> None:
    assert read_settings().graph.is_file()
