"""A small machine: one analysed clip, three models, a repository with a data version, a promotion."""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.archive.store import Archive
from services.contracts.action import ActionSegment
from services.contracts.card import ModelCard
from services.contracts.events import Analysis
from services.events.join import identify_event
from services.models.store import ModelStore
from services.settings import Settings, read_settings
from services.signing import open_signing_key
from training.lineage.attestation import ATTESTATION_FILE, make_statement, seal
from training.lineage.checkout import Checkout
from training.lineage.trace import Tracer
from training.promotion.deployments import Change, Deployment, PromotionLog

TASKS = {"person_detection": "persons", "face_embedding": "faces", "action": "actions"}
CHIP = {
    "size_px": 8,
    "template": [[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.4, 0.7], [0.6, 0.7]],
    "channels": "RGB",
    "mean": [0, 0, 0],
    "scale": 1,
}
PARTS = {
    "person_detection": {"minimum_confidence": 0.4},
    "face_embedding": {"chip": CHIP, "embedding": {"space": "s", "dimension": 4}},
    "action": {
        "window": {"frames": 4, "rate_hz": 4, "stride_seconds": 0.5, "size_px": 16, "motion": True},
        "classes": ["walk", "fall"],
        "action": {"temperature": 1.5, "minimum_probability": 0.5, "minimum_seconds": 0},
        "metrics": {"window_accuracy": 0.8},
    },
}


@dataclass(frozen=True)
class Machine:
    """Everything the tests change and look at."""

    settings: Settings
    root: Path
    event_id: str
    data_md5: str
    artefacts: dict[str, Path]

    def tracer(self) -> Tracer:
        return Tracer(self.settings, Checkout(self.root))


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def machine(tmp_path_factory, repository) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHODID_HOME", str(folder / "home"))
        for name in ("MODELS", "ARCHIVE", "GALLERY", "EVIDENCE"):
            patch.delenv(f"WHODID_{name}", raising=False)
        patch.setenv("WHODID_GRAPH", str(folder / "graph.yaml"))
        settings = read_settings()
    settings.graph.write_bytes((repository / "infra/base/graph.yaml").read_bytes())
    data_md5, data_files = make_data(folder / "checkout")
    commit = git(folder / "checkout", "rev-parse", "HEAD")
    key = open_signing_key(settings.signing_key)
    artefacts = {f"data file {path.name}": path for path in data_files}
    references = {}
    for task, name in TASKS.items():
        weights = f"weights of {name}".encode()
        sha256 = hashlib.sha256(weights).hexdigest()
        card = ModelCard.model_validate(
            {
                "name": name,
                "version": "1",
                "task": task,
                "description": "for a test",
                "weights": {"file": "net.onnx", "sha256": sha256, "size_bytes": len(weights), "format": "onnx"},
                "licence": "MIT",
                "lineage": {"source": "dvc repro", "git_commit": commit, "data_md5": data_md5, "run_id": "a" * 32},
                **PARTS[task],
            }
        )
        stored = ModelStore(settings.models).install(card, weights)
        attestation = stored.weights_path.with_name(ATTESTATION_FILE)
        attestation.write_bytes(seal(make_statement(card, None), key))
        artefacts |= {
            f"weights of {name}": stored.weights_path,
            f"card of {name}": stored.weights_path.with_name("card.json"),
            f"signature of {name}": attestation,
        }
        references[task] = {"name": name, "version": "1", "sha256": sha256}
    sha256 = references["action"]["sha256"]
    deployment = Deployment("local", "action", "actions", "1", "1", "file:///", sha256, "a" * 32, commit, data_md5)
    PromotionLog(settings).record(Change("promote", deployment, "ada", "it is good"))
    artefacts["promotion log"] = settings.promotions
    artefacts["promotion log's end"] = settings.promotions.with_name(settings.promotions.name + ".head")
    artefacts["clip"], artefacts["evidence"] = folder / "clip.mp4", folder / "evidence.zip"
    artefacts["graph"] = settings.graph
    analysis = make_analysis(repository, references, artefacts["clip"], artefacts["evidence"], settings.graph)
    Archive(settings.archive).record(analysis)
    return Machine(settings, folder / "checkout", analysis.events[0].event_id, data_md5, artefacts)


def make_data(checkout: Path) -> tuple[str, list[Path]]:
    """A repository whose one data version holds a scene with two people and an enrolment still of one."""
    manifest = {"clips": [{"file": "one.mp4", "people": [{"subject_id": "ada"}, {"subject_id": "bob"}]}]}
    files = {
        "enrol/ada/0.jpg": b"a face",
        "scenes/train/manifest.json": json.dumps(manifest).encode(),
        "scenes/train/one.mp4": b"a clip",
    }
    paths = [put(checkout, content) for content in files.values()]
    listing = [{"md5": path.parent.name + path.name, "relpath": name} for path, name in zip(paths, files, strict=True)]
    paths.append(put(checkout, json.dumps(listing).encode(), suffix=".dir"))
    md5 = paths[-1].parent.name + paths[-1].name
    (checkout / "data.dvc").write_text(f"outs:\n- md5: {md5}\n  path: data\n")
    (checkout / "params.yaml").write_text("train_action:\n  epochs: 3\n")
    (checkout / "constraints.txt").write_text("numpy==2.4.0\n")
    git(checkout, "init", "--quiet")
    git(checkout, "add", "data.dvc", "params.yaml", "constraints.txt")
    git(checkout, "commit", "--quiet", "--message", "pin data")
    return md5, paths


def put(checkout: Path, content: bytes, suffix: str = "") -> Path:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = checkout / ".data-remote/files/md5" / md5[:2] / (md5[2:] + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def make_analysis(repository: Path, references: dict, clip: Path, evidence: Path, graph: Path) -> Analysis:
    """The golden analysis, of files that exist."""
    clip.write_bytes(b"pixels")
    evidence.write_bytes(b"faces and boxes")
    analysis = json.loads((repository / "tests/contract/golden/analysis.json").read_text())
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (clip, evidence)}
    provenance = {
        **analysis["provenance"],
        "evidence_sha256": digests[evidence],
        "tracks": [references["person_detection"]],
        "identity": [references["face_embedding"]],
        "action": [references["action"]],
        "graph_sha256": hashlib.sha256(graph.read_bytes()).hexdigest(),
    }
    analysis["clip"] |= {"clip_id": digests[clip], "uri": clip.as_uri()}
    analysis["evidence"] = {"uri": str(evidence), "sha256": digests[evidence]}
    analysis["provenance"] = provenance
    for event in analysis["events"]:
        event |= {"clip_id": digests[clip], "provenance": provenance}
    made = Analysis.model_validate(analysis)
    events = []
    for event in made.events:
        segment = ActionSegment(
            track_id=event.track_id,
            action=event.action,
            start_seconds=event.start_seconds,
            end_seconds=event.end_seconds,
        )
        event_id = identify_event(event.clip_id, segment, event.identity, event.provenance)
        events.append(event.model_copy(update={"event_id": event_id}))
    return made.model_copy(update={"events": tuple(events)})
