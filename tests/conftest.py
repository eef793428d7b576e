"""Fixtures every room may use."""

from pathlib import Path

import pytest

from services.settings import read_settings


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """Real faces and clips that lie beside some checkouts; none is in the repository."""
    folder = repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def models(repository: Path) -> Path:
    """The model store that `make install` filled."""
    folder = read_settings().models
    if not (folder / "champions.json").is_file():
        pytest.fail(f"no models in {folder}: run `make install`")
    return folder


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: Path) -> Path:
    """A home of its own for one test, with the installed models."""
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WHODID_MODELS", str(models))
    return tmp_path / "home"
