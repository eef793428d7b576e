from pathlib import Path

import pytest

from services.contracts.errors import BadUsage, MissingModel
from services.models.pinned import PinnedModels
from services.models.store import CARD_FILE, ModelStore, read_card
from services.settings import read_settings


@pytest.fixture
def mounted(tmp_path: Path, repository: Path) -> tuple[Path, str]:
    """A folder as the storage initializer leaves it: one folder a task, and no champions.json. And the sha256."""
    card = read_card(repository / "data" / "models" / "action-cnn-lstm" / CARD_FILE).card
    folder = tmp_path / "models" / "action"
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text(card.model_dump_json())
    return tmp_path / "models", card.weights.sha256


def test_the_pinned_weights_are_found_wherever_they_are_mounted(mounted: tuple[Path, str]) -> None:
    root, sha256 = mounted
    for folder in (root, root / "action"):
        assert PinnedModels(folder, pins={"action": sha256}).champion("action").card.weights.sha256 == sha256


def test_other_weights_are_refused_and_both_are_named(mounted: tuple[Path, str]) -> None:
    root, sha256 = mounted
    with pytest.raises(MissingModel, match=f"pinned to {'0' * 64}.*{sha256[:12]}"):
        PinnedModels(root, pins={"action": "0" * 64}).champion("action")


def test_weights_of_another_task_do_not_do(mounted: tuple[Path, str]) -> None:
    root, sha256 = mounted
    with pytest.raises(MissingModel):
        PinnedModels(root, pins={"face_embedding": sha256}).champion("face_embedding")


def test_without_a_pin_the_champion_serves(mounted: tuple[Path, str]) -> None:
    root, _ = mounted
    with pytest.raises(MissingModel, match="no champion"):
        PinnedModels(root).champion("action")
    assert PinnedModels(root).champions() == ModelStore(root).champions()


def test_pins_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHODID_PINS", f"action={'a' * 64},face_embedding={'b' * 64}")
    assert read_settings().pins == {"action": "a" * 64, "face_embedding": "b" * 64}


@pytest.mark.parametrize("text", ["action", "action=champion", f"={'a' * 64}"])
def test_a_pin_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WHODID_PINS", text)
    with pytest.raises(BadUsage, match="list of TASK=SHA256"):
        read_settings()
