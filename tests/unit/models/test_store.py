import errno
import os
from pathlib import Path

import pytest

from services.contracts.errors import BadInput, BadUsage, MissingModel
from services.models import store as store_module
from services.models.store import ModelStore

from .conftest import CardMaker


def files_under(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} if root.exists() else set()


def test_installed_model_is_found_by_each_of_its_names(store: ModelStore, card_for: CardMaker) -> None:
    card = card_for(b"weights", version="1.5")
    installed = store.install(card, b"weights")
    assert installed.weights_path.read_bytes() == b"weights"
    for reference in ("tiny", "tiny@1.5", card.weights.sha256, str(installed.weights_path.parent / "card.json")):
        assert store.find(reference) == installed
    assert store.installed() == [installed]


def test_install_takes_a_file_and_leaves_it_alone(store: ModelStore, card_for: CardMaker, tmp_path: Path) -> None:
    source = tmp_path / "download"
    source.write_bytes(b"weights")
    installed = store.install(card_for(b"weights"), source)
    assert source.exists()
    assert installed.weights_path.read_bytes() == b"weights"


def test_installing_absent_weights_is_refused(store: ModelStore, card_for: CardMaker, tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="no weights at"):
        store.install(card_for(b"weights"), tmp_path / "absent")
    assert list(store.root.iterdir()) == []


def test_another_user_may_read_the_store(store: ModelStore, card_for: CardMaker) -> None:
    installed = store.install(card_for(b"weights"), b"weights")
    assert installed.weights_path.parent.stat().st_mode & 0o005 == 0o005


def test_wrong_bytes_are_refused_and_leave_nothing(store: ModelStore, card_for: CardMaker) -> None:
    card = card_for(b"weights")
    with pytest.raises(MissingModel) as refusal:
        store.install(card, b"weightz")
    assert card.weights.sha256 in str(refusal.value)
    assert list(store.root.iterdir()) == []


@pytest.mark.parametrize("blow", [KeyboardInterrupt, OSError(errno.EIO, "I/O error")])
def test_an_interrupted_install_leaves_nothing(
    store: ModelStore, card_for: CardMaker, monkeypatch: pytest.MonkeyPatch, blow: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise blow

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(type(blow) if isinstance(blow, OSError) else KeyboardInterrupt):
        store.install(card_for(b"weights"), b"weights")
    assert list(store.root.iterdir()) == []


def test_a_full_disk_is_one_message_with_the_place_and_the_free_space(
    store: ModelStore, card_for: CardMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "_fsync", full)
    with pytest.raises(MissingModel, match=r"full: .* MB needed, .* MB free") as refusal:
        store.install(card_for(b"weights"), b"weights")
    assert str(store.root) in str(refusal.value)
    assert list(store.root.iterdir()) == []


def test_installing_again_mends_damaged_weights_and_updates_the_card(store: ModelStore, card_for: CardMaker) -> None:
    first = store.install(card_for(b"weights"), b"weights")
    first.weights_path.write_bytes(b"damaged")
    with pytest.raises(MissingModel, match="found"):
        store.verify(first)
    again = store.install(card_for(b"weights", version="2"), b"weights")
    store.verify(again)
    assert [model.card.version for model in store.installed()] == ["2"]
    assert files_under(store.root) == {f"{first.card.weights.sha256}/{name}" for name in ("card.json", "tiny.onnx")}


def test_absent_models_say_how_to_get_them(store: ModelStore) -> None:
    for reference in ("tiny", "tiny@9", "0" * 64, "nowhere/card.json"):
        with pytest.raises(MissingModel, match="whodid models fetch"):
            store.find(reference)
    with pytest.raises(MissingModel, match="whodid models fetch"):
        store.champion("face_detection")


def test_a_bare_name_with_several_versions_means_the_champion(store: ModelStore, card_for: CardMaker) -> None:
    store.install(card_for(b"old", version="1"), b"old")
    new = store.install(card_for(b"new", version="2"), b"new")
    with pytest.raises(BadUsage, match="several"):
        store.find("tiny")
    store.set_champion("face_detection", new.card.weights.sha256)
    assert store.find("tiny") == new == store.champion("face_detection")
    assert store.find("tiny@1").card.version == "1"


def test_a_champion_must_be_here_and_do_the_task(store: ModelStore, card_for: CardMaker) -> None:
    with pytest.raises(MissingModel):
        store.set_champion("face_detection", "0" * 64)
    detector = store.install(card_for(b"weights"), b"weights")
    with pytest.raises(BadUsage, match="cannot be champion of action"):
        store.set_champion("action", detector.card.weights.sha256)
    assert store.champions() == {}


def test_a_spoilt_card_or_champions_file_is_bad_input(store: ModelStore, card_for: CardMaker) -> None:
    model = store.install(card_for(b"weights"), b"weights")
    (model.weights_path.parent / "card.json").write_text('{"name": "tiny"}')
    with pytest.raises(BadInput, match="not a model card: version"):
        store.find(model.card.weights.sha256)
    (store.root / "champions.json").write_text('{"face_detection": "latest"}')
    with pytest.raises(BadInput, match="delete it"):
        store.champions()
