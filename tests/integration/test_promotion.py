"""Train, register, promote, serve, analyse, refuse a worse model, take a better one, roll back: real processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from services.analysis import run_here
from services.client import SendRequest, analyze_clip, post_to, refer_to_clip
from services.models.store import ModelStore
from services.settings import read_settings
from services.supervisor import Supervisor
from tests.integration.scenes import render_scenes
from training.datasets.windows import WindowSet, join_windows
from training.stages import evaluate, export, prepare, register, train_action

NAME = "action-tiny"
RECIPE = {"learning_rate": 0.01, "warmup_epochs": 0, "patience": 40, "seed": 1}
# Something learned, nothing, and everything there is to know: far enough apart for an interval over four people.
TAUGHT_LITTLE, TAUGHT = {"epochs": 1, "learning_rate": 5e-4}, {"epochs": 15}
UNTAUGHT = {"epochs": 1, "learning_rate": 1e-9}

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and its ORM warn about themselves


def write_params(repository: Path, checkout: Path, training: dict) -> None:
    params = yaml.safe_load((repository / "params.yaml").read_text())
    params["prepare"]["window"].update(frames=6, size_px=32)
    params["prepare"]["validation_share"] = 0.5
    params["train_action"].update(batch_size=8, threads=1, **RECIPE | training)
    params["train_action"]["network"].update(channels=[8, 16], lstm_units=16, dropout=0.0)
    params["train_action"]["augmentation"] = dict.fromkeys(params["train_action"]["augmentation"], 0.0)
    params["evaluate"]["bootstrap_draws"] = 50
    params["export"]["name"] = NAME
    params["promote"].update(subgroup_tolerance=1.0, tolerance=1.0)
    params["promote"]["latency_ms"]["action"] = 5000  # the machine may be busy
    (checkout / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture
def checkout(repository: Path, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scenes and a store with the pretrained networks, but no action network."""
    store = ModelStore(tmp_path / "home" / "models")
    store.root.mkdir(parents=True)
    for task, sha256 in ModelStore(models).champions().items():
        if task != "action":
            (store.root / sha256).symlink_to(models / sha256)
            store.set_champion(task, sha256)
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WHODID_MODELS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WHODID_CLIPS", str(tmp_path / "checkout"))
    monkeypatch.setenv("WHODID_GRAPH", str(repository / "infra/base/graph.yaml"))
    folder = tmp_path / "checkout"
    render_scenes(folder / "data/scenes/train", [1, 2])
    render_scenes(folder / "data/scenes/heldout", [3])
    monkeypatch.chdir(folder)
    return folder


def prepare_by_heart(repository: Path, checkout: Path) -> None:
    """Windows to be learned by heart: too few to learn more from, and what is tested is the way, not the model."""
    write_params(repository, checkout, {})
    prepare.main()
    folder = checkout / "build/prepare"
    windows = join_windows([WindowSet.load(folder / f"{side}.npz") for side in ("train", "validation")])
    windows.save(folder / "train.npz")
    renamed = np.char.add("twin of ", windows.subject_ids)
    replace(windows, subject_ids=np.where(windows.subject_ids == "", "", renamed)).save(folder / "validation.npz")


def whodid(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "whodid"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def train(repository: Path, checkout: Path, training: dict) -> dict:
    """A registered version."""
    write_params(repository, checkout, training)
    for stage in (train_action, evaluate, export, register):
        stage.main()
    return json.loads((checkout / "build/register/version.json").read_text())


def live(at: datetime | None = None) -> list[tuple[str, str]]:
    """What the log says served: version and digest."""
    arguments = ["--at", at.isoformat()] if at else []
    return [(each["version"], each["sha256"]) for each in json.loads(whodid("live", "--json", *arguments))]


def analyse(send: SendRequest, checkout: Path) -> str:
    """The digest of the action network that answered."""
    analysis = analyze_clip(send, refer_to_clip(checkout / "data/scenes/heldout/scene-3.mp4"), to_seconds=2)
    (model,) = analysis.provenance.action or ()
    return model.sha256


def test_a_version_s_whole_life(repository, checkout):
    prepare_by_heart(repository, checkout)
    compared_on = ["--scenes", "data/scenes/train"]
    first = train(repository, checkout, TAUGHT_LITTLE)
    moments = [datetime.now(UTC)]

    shown = whodid("promote", NAME, first["version"], "--to", "local", "--why", "the first of all", *compared_on)
    assert "nothing serves yet" in shown
    moments.append(datetime.now(UTC))
    with Supervisor(os.environ["WHODID_GRAPH"]) as supervisor:
        assert analyse(post_to(supervisor.url), checkout) == first["sha256"]

    worse = train(repository, checkout, UNTAUGHT)
    refused = whodid("promote", NAME, worse["version"], "--to", "local", *compared_on, code=5)
    assert "FAIL window accuracy" in refused
    assert live() == [(first["version"], first["sha256"])]
    moments.append(datetime.now(UTC))

    better = train(repository, checkout, TAUGHT)
    shown = whodid("promote", NAME, "candidate", "--to", "local", "--why", "it learned", *compared_on)
    assert "FAIL" not in shown
    moments.append(datetime.now(UTC))
    assert analyse(run_here(read_settings()), checkout) == better["sha256"]

    whodid("rollback", NAME, "--why", "to see it work")
    assert analyse(run_here(read_settings()), checkout) == first["sha256"]

    before, one, two = [], [(first["version"], first["sha256"])], [(better["version"], better["sha256"])]
    assert [live(at) for at in [*moments, None]] == [before, one, one, two, one]
    log = checkout.parent / "home" / "promotions.jsonl"
    log.write_bytes(log.read_bytes().replace(b"it learned", b"it earned!"))
    assert whodid("live", code=3) == ""
