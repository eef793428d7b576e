import hashlib

import pytest

from services.contracts.card import ActionCalibration, Lineage, ModelCard, Weights, WindowSpec
from services.contracts.errors import BadInput, BadUsage
from services.models.store import ModelStore
from training.metrics.models import find_recognizer

CALIBRATION = ActionCalibration(temperature=1, minimum_probability=0.6, minimum_seconds=0.5)
CLASSES = {"action": ("stand", "walk"), "behaviour": ("fight", "no_fight"), "interaction": ("hug", "punch")}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WHODID_MODELS", str(tmp_path))
    store = ModelStore(tmp_path)
    for task, classes in CLASSES.items():
        content = task.encode()
        card = ModelCard(
            name=f"{task}s",
            version="1",
            task=task,
            description="",
            weights=Weights(
                file="model.onnx", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), format="onnx"
            ),
            licence="MIT",
            lineage=Lineage(source="test"),
            window=WindowSpec(frames=4, rate_hz=10, stride_seconds=0.5, size_px=64, motion=False),
            classes=classes,
            action=CALIBRATION,
        )
        store.install(card, content)
        store.set_champion(task, card.weights.sha256)
    return store


@pytest.mark.parametrize("task", CLASSES)
def test_the_champion_is_the_one_that_knows_the_actions(store, task):
    assert find_recognizer("champion", CLASSES[task]).card.task == task
    assert find_recognizer("champion", CLASSES[task][:1]).card.task == task
    assert find_recognizer(f"{task}s", CLASSES[task]).card.task == task


def test_what_is_measured_needs_no_champion(store):
    content = b"kicks"
    card = store.find("interactions").card
    weights = card.weights.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    )
    kicks = card.model_copy(update={"name": "kicks", "weights": weights, "classes": ("kick", "no_kick")})
    store.install(kicks, content)
    assert find_recognizer("champion", {"kick"}).card.name == "kicks"
    assert find_recognizer("champion", {"hug"}).card.name == "interactions"


def test_actions_that_nobody_knows_are_named_with_what_is_known(store):
    with pytest.raises(BadInput, match=r"none knows all of fight, wave.*fight, no_fight"):
        find_recognizer("champion", {"wave", "fight"})
    with pytest.raises(BadInput, match="actions knows stand, walk"):
        find_recognizer("actions", {"fight"})


def test_a_network_of_faces_is_no_recogniser(store):
    face = store.find("actions").card.model_copy(update={"task": "person_detection", "minimum_confidence": 0.5})
    store.install(face, b"action")
    with pytest.raises(BadUsage, match="person_detection"):
        find_recognizer("actions", {"walk"})
