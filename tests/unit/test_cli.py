from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.models.store import ModelStore

from .models.conftest import CardMaker


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """An empty store, which the command fills."""
    monkeypatch.setenv("WHODID_MODELS", str(tmp_path / "models"))
    return ModelStore(tmp_path / "models")


def install(tmp_path: Path, weights: bytes, *options: str, **changes: str) -> str:
    folder = tmp_path / f"{weights.decode()}"
    folder.mkdir()
    card = CardMaker()(weights, **changes)
    (folder / "card.json").write_text(card.model_dump_json())
    (folder / card.weights.file).write_bytes(weights)
    answer = CliRunner().invoke(app, ["models", "install", str(folder), *options])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_a_task_s_first_model_is_its_champion_and_a_newer_version_follows_it(
    tmp_path: Path,
    installed: ModelStore,
) -> None:
    assert "is champion of" in install(tmp_path, b"one", version="1")
    assert "is champion of" in install(tmp_path, b"two", version="2")
    (sha256,) = installed.champions().values()
    assert installed.find(sha256).card.version == "2"


def test_another_model_becomes_champion_by_a_gate_or_on_demand(
    tmp_path: Path,
    installed: ModelStore,
) -> None:
    install(tmp_path, b"one")
    champions = installed.champions()
    assert "is installed; tiny stays champion" in install(tmp_path, b"two", name="rival")
    assert installed.champions() == champions
    assert installed.find("rival").card.name == "rival"
    assert "is champion of" in install(tmp_path, b"three", "--champion", name="usurper")
    assert installed.champions() != champions
