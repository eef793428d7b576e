"""`dvc repro` in a copy of the checkout, on three tiny rendered clips, with a tiny network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from services.contracts.card import ModelCard
from services.models.engine import load_network
from services.models.store import ModelStore
from tests.integration.scenes import render_scenes

FACE_STAGES = ("prepare_face", "train_face", "evaluate_face", "export_face")
STAGES = ("prepare", "train_action", "evaluate", "export", "register", *FACE_STAGES)


def shrink(params: dict) -> dict:
    params["prepare"]["window"].update(frames=6, size_px=32)
    params["prepare"]["validation_share"] = 0.5
    params["train_action"].update(epochs=2, batch_size=8, threads=1)
    params["train_action"]["network"].update(channels=[8, 8], lstm_units=8)
    params["evaluate"]["bootstrap_draws"] = 50
    params["prepare_face"].update(rendered_subjects={"train": 4, "validation": 3, "heldout": 4}, rendered_pictures=2)
    params["train_face"].update(epochs=2, batch_size=4, threads=1)
    params["evaluate_face"].update(bootstrap_draws=50, gallery_size=2, galleries=3)
    params["promote"]["latency_ms"]["action"] = 5000  # the machine may be busy
    return params


@pytest.fixture(scope="module")
def reproduced(repository, models, tmp_path_factory) -> Path:
    checkout = tmp_path_factory.mktemp("checkout")
    for package in ("services", "training"):
        shutil.copytree(repository / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "dvc.yaml", checkout)
    (checkout / "infra").mkdir()
    shutil.copy(repository / "infra" / "dvc.yaml", checkout / "infra")
    params = yaml.safe_load((repository / "params.yaml").read_text())
    (checkout / "params.yaml").write_text(yaml.safe_dump(shrink(params)))
    render_scenes(checkout / "data" / "scenes" / "train", [1, 2])
    render_scenes(checkout / "data" / "scenes" / "heldout", [3])
    # People and faces are found before they are learned from; nothing else is in this store.
    store = ModelStore(checkout / "home" / "models")
    for task in ("person_detection", "face_detection"):
        detector = ModelStore(models).champion(task)
        store.install(*detector)
        store.set_champion(task, detector.card.weights.sha256)
    run_dvc(checkout, "init", "--no-scm")
    run_dvc(checkout, "repro")
    return checkout


def run_dvc(checkout: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "WHODID_HOME": str(checkout / "home"),
        "WHODID_MODELS": str(checkout / "home" / "models"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_stage_leaves_its_results_and_a_second_run_has_nothing_to_do(reproduced):
    assert sorted(yaml.safe_load((reproduced / "dvc.lock").read_text())["stages"]) == sorted(STAGES)
    assert all((reproduced / "build" / stage).is_dir() for stage in STAGES)
    assert "up to date" in run_dvc(reproduced, "repro")


def test_the_exported_model_is_served_from_its_card_alone(reproduced):
    folder = reproduced / "build" / "export"
    card = ModelCard.model_validate_json((folder / "card.json").read_text())
    assert card.window is not None
    assert card.window.frames == 6
    assert card.lineage.run_id
    assert load_network(card, folder / card.weights.file, threads=1) is not None


def test_the_model_version_carries_the_digest_of_what_was_exported(reproduced):
    record = json.loads((reproduced / "build" / "register" / "version.json").read_text())
    card = ModelCard.model_validate_json((reproduced / "build" / "export" / "card.json").read_text())
    assert record["sha256"] == card.weights.sha256
    assert record["run_id"] == card.lineage.run_id
    kept = list((reproduced / ".mlflow").rglob(card.weights.file))
    assert [path.stat().st_size for path in kept] == [card.weights.size_bytes]


def test_what_was_registered_is_promoted_when_somebody_says_so_and_not_before(reproduced):
    change = reproduced / "build" / "promote" / "change.json"
    assert not change.exists()
    assert "promote" not in yaml.safe_load((reproduced / "dvc.lock").read_text())["stages"]
    run_dvc(reproduced, "repro", "infra/dvc.yaml")
    record = json.loads((reproduced / "build" / "register" / "version.json").read_text())
    promoted = json.loads(change.read_text())
    assert (promoted["promoted"], promoted["deployment"]["sha256"]) == (True, record["sha256"])
    champions = json.loads((reproduced / "home" / "models" / "champions.json").read_text())
    assert champions["action"] == record["sha256"]
    assert "up to date" in run_dvc(reproduced, "repro", "infra/dvc.yaml")


def test_the_exported_face_network_is_served_from_its_card_alone(reproduced):
    folder = reproduced / "build" / "export_face"
    card = ModelCard.model_validate_json((folder / "card.json").read_text())
    assert card.identification is not None
    assert card.lineage.run_id
    assert load_network(card, folder / card.weights.file, threads=1) is not None


def test_the_face_stages_give_the_same_numbers_bit_for_bit_when_they_are_run_again(reproduced):
    weights = Path("train_face") / "network.safetensors"
    results = [weights, *(Path(stage) / "metrics.json" for stage in FACE_STAGES)]
    before = {path: (reproduced / "build" / path).read_bytes() for path in results}
    run_dvc(reproduced, "repro", "--force", "--single-item", *FACE_STAGES)
    assert {path: (reproduced / "build" / path).read_bytes() for path in results} == before
