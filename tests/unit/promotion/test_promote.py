"""A promotion happens whole or not at all: registry, store, pins and log stand together."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from services.contracts.errors import BadInput, BadUsage, MissingModel, Refused
from services.models.store import ModelStore
from services.settings import read_settings
from services.signing import public_path, read_public_key
from tests.unit.promotion.models import make_model
from training import runs
from training.config import read_config
from training.lineage.attestation import ATTESTATION_FILE, prove_subjects, unseal
from training.promotion.canary import CANARY_FILE
from training.promotion.comparison import Report, Tally
from training.promotion.deployments import PromotionLog
from training.promotion.pins import read_pin
from training.promotion.sharing import start_canary, stop_canary
from training.runs import ModelVersion
from training.stages import promote as stage
from training.stages.promote import Request, promote, roll_back


class Registry:
    """In place of MLflow's: versions 1, 2, ... are folders, aliases a mapping."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aliases: dict[tuple[str, str], str] = {}
        self.rights: dict[str, int] = {}

    def add(self, number: int, *, right: int, **card) -> str:
        model = make_model(self.folder / str(number), bias=float(number), **card)
        model.weights_path.with_name("card.json").write_text(model.card.model_dump_json(indent=2))
        self.rights[model.card.weights.sha256] = right
        return model.card.weights.sha256

    def find_version(self, name, version):
        folder = self.folder / version
        if not folder.is_dir():
            raise MissingModel(f"no version {version!r} of {name!r}")
        sha256 = json.loads((folder / "card.json").read_text())["weights"]["sha256"]
        return ModelVersion(name, version, "c" * 32, folder.as_uri(), {"sha256": sha256})

    def fetch_version(self, version, folder):
        return Path(shutil.copytree(self.folder / version.version, folder / "model"))

    def find_alias(self, name, alias):
        return self.aliases.get((name, alias))

    def move_alias(self, name, alias, version):
        if version is None:
            self.aliases.pop((name, alias), None)
        else:
            self.aliases[name, alias] = version

    def protocol(self, *_, **__):
        def measure(model):
            right = float(self.rights[model.card.weights.sha256])
            tally = Tally({f"person {i}": (right, 20.0) for i in range(6)})
            return Report({"window accuracy": tally}, {}, "a test")

        return measure


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Registry:
    (tmp_path / "registry").mkdir()
    registry = Registry(tmp_path / "registry")
    for name in ("find_version", "fetch_version", "find_alias", "move_alias"):
        monkeypatch.setattr(runs, name, getattr(registry, name))
    monkeypatch.setattr(runs, "read_run", lambda run_id: None)
    monkeypatch.setattr(stage, "choose_protocol", registry.protocol)
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "home"))
    for name in ("MODELS", "GALLERY", "PROMOTIONS", "SIGNING_KEY"):
        monkeypatch.delenv(f"WHODID_{name}", raising=False)
    return registry


@pytest.fixture
def config(repository, tmp_path, monkeypatch):
    """The repository's, with overlays of its own in a git repository, and a folder to publish to."""
    for name, value in {"NAME": "Ada", "EMAIL": "ada@example.org"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    checkout = tmp_path / "checkout"
    shutil.copytree(repository / "infra", checkout / "infra")
    pins = checkout / "infra/overlays/staging/models.yaml"
    pins.write_text(pins.read_text().replace("s3://whodid-models", (tmp_path / "nowhere").as_uri()))
    git(checkout, "init", "--quiet")
    git(checkout, "config", "user.name", "Ada")
    git(checkout, "config", "user.email", "ada@example.org")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "infra")
    monkeypatch.chdir(checkout)
    config = read_config(repository / "params.yaml")
    staging = config.promote.stages["staging"].model_copy(update={"publish": (tmp_path / "published").as_uri()})
    budgets = {"latency_ms": dict.fromkeys(config.promote.latency_ms, 5000.0)}
    stages = {**config.promote.stages, "staging": staging}
    return config.model_copy(update={"promote": config.promote.model_copy(update={**budgets, "stages": stages})})


def ask(config, version, stage="local", **more):
    gates = []
    change = promote(Request("net", str(version), stage, **more), config, read_settings(), on_gate=gates.append)
    return change, gates


def everything(registry, tmp_path) -> dict:
    """All that a promotion could change."""
    files = {
        path: path.read_bytes()
        for folder in ("home", "checkout", "published")
        for path in (tmp_path / folder).rglob("*")
        if path.is_file() and ".git" not in path.parts and "keys" not in path.parts
    }
    return {"aliases": dict(registry.aliases), **files}


def test_a_better_version_becomes_champion_alias_and_log_line(registry, config):
    first, second = registry.add(1, right=10), registry.add(2, right=15)
    ask(config, 1)
    change, gates = ask(config, 2, why="it is better")
    store = ModelStore(read_settings().models)
    assert store.champion("action").card.weights.sha256 == second
    assert registry.aliases == {("net", "local"): "2"}
    standing = PromotionLog(read_settings()).live()["local", "action"]
    assert (standing.deployment.sha256, standing.before[-1].sha256) == (second, first)
    assert standing.change.who == "Ada <ada@example.org>"
    assert [gate["name"] for gate in standing.change.gates] == [gate.name for gate in gates]
    assert change.pins_commit is None


def test_what_was_promoted_carries_a_signed_statement_of_where_it_came_from(registry, config):
    registry.add(1, right=10)
    ask(config, 1)
    model = ModelStore(read_settings().models).champion("action")
    path = model.weights_path.with_name(ATTESTATION_FILE)
    statement = unseal(path, read_public_key(public_path(read_settings().signing_key)))
    prove_subjects(statement, model.card, path)
    assert {"name": "git", "digest": {"gitCommit": "a" * 40}} in (
        statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    )


def test_refused_means_that_nothing_changed(registry, config, tmp_path):
    registry.add(1, right=10)
    registry.add(2, right=9)
    ask(config, 1)
    before = everything(registry, tmp_path)
    with pytest.raises(Refused, match="window accuracy"):
        ask(config, 2)
    with pytest.raises(BadUsage, match="reason"):
        ask(config, 2, override="  ")
    assert everything(registry, tmp_path) == before


def test_an_override_is_logged_with_its_reason(registry, config):
    registry.add(1, right=10)
    worse = registry.add(2, right=9)
    ask(config, 1)
    ask(config, 2, override="the old one names a person who asked to be forgotten")
    standing = PromotionLog(read_settings()).live()["local", "action"]
    assert standing.deployment.sha256 == worse
    assert standing.change.override == "the old one names a person who asked to be forgotten"


def test_no_reason_is_good_enough_for_other_bytes(registry, config):
    registry.add(1, right=10)
    (registry.folder / "1" / "model.onnx").write_bytes(b"other bytes")
    with pytest.raises(Refused, match="no override"):
        ask(config, 1, override="I am in a hurry")
    assert PromotionLog(read_settings()).live() == {}


def test_staging_publishes_by_digest_pins_commits_and_rolls_back_byte_for_byte(registry, config, tmp_path):
    sha256 = registry.add(1, right=10)
    overlay = tmp_path / "checkout/infra/overlays/staging"
    before = (overlay / "models.yaml").read_bytes()
    shipped = read_pin(overlay, "action", "staging")
    assert shipped is not None
    # What serves by the pins is adopted first; it cannot be fetched here, so it is put into the store.
    with pytest.raises(MissingModel, match=r"neither in"):
        ask(config, 1, "staging")
    champion = registry.add(7, right=9)
    (overlay / "models.yaml").write_text(before.decode().replace(shipped.sha256, champion))
    git(overlay, "commit", "--all", "--quiet", "--message", "pin version 7")
    pinned = (overlay / "models.yaml").read_bytes()
    ModelStore(read_settings().models).install(
        *ModelStore(registry.folder).find(str(registry.folder / "7" / "card.json"))
    )

    change, _ = ask(config, 1, "staging", why="better", override="published to a folder")
    assert read_pin(overlay, "action", "staging").sha256 == sha256
    published = tmp_path / "published" / "net" / sha256
    assert sorted(path.name for path in published.iterdir()) == ["card.json", "model.onnx", ATTESTATION_FILE]
    assert git(overlay, "rev-parse", "HEAD").strip() == change.pins_commit
    message = git(overlay, "log", "-1", "--format=%B")
    assert all(word in message for word in (sha256, "better", "Promotion-log: 1:"))
    witness = next(line for line in message.splitlines() if "Promotion-log" in line).split(": ")[1]
    assert PromotionLog(read_settings()).changes(witness=witness)

    roll_back("net", "staging", "", config, read_settings())
    assert (overlay / "models.yaml").read_bytes() == pinned
    assert registry.aliases == {}
    assert git(overlay, "status", "--porcelain") == ""
    with pytest.raises(BadInput, match="nothing served"):
        roll_back("action", "staging", "", config, read_settings())


def test_unfinished_edits_of_the_pins_stop_a_promotion_before_it_starts(registry, config, tmp_path):
    registry.add(1, right=10)
    with (tmp_path / "checkout/infra/overlays/staging/models.yaml").open("a") as file:
        file.write("# in the middle of something\n")
    with pytest.raises(BadUsage, match="not committed"):
        ask(config, 1, "staging", override="hurry")


@pytest.mark.parametrize("place", ["local", "staging"])
def test_a_change_that_cannot_be_logged_is_undone(registry, config, tmp_path, monkeypatch, place):
    registry.add(1, right=10)
    registry.add(2, right=15)
    ask(config, 1)
    before = everything(registry, tmp_path)
    monkeypatch.setattr(stage, "find_serving", lambda *_: None)

    def fail(self, change):
        raise OSError("no space left on device")

    monkeypatch.setattr(PromotionLog, "record", fail)
    with pytest.raises(OSError, match="no space"):
        ask(config, 2, place, override="published to a folder")
    after = everything(registry, tmp_path)
    assert {path: after[path] for path in before} == before
    assert ModelStore(read_settings().models).champion("action").card.weights.sha256 in registry.rights


def test_what_served_before_the_log_is_adopted_and_can_be_rolled_back_to(registry, config):
    shipped = registry.add(1, right=10)
    registry.add(2, right=15)
    store = ModelStore(read_settings().models)
    store.install(*ModelStore(registry.folder).find(str(registry.folder / "1" / "card.json")))
    store.set_champion("action", shipped)
    ask(config, 2)
    kinds = [change.kind for _, change in PromotionLog(read_settings()).changes()]
    assert kinds == ["adopt", "promote"]
    roll_back("net", None, "", config, read_settings())
    assert store.champion("action").card.weights.sha256 == shipped
    assert registry.aliases == {}


def test_an_unknown_stage_and_a_model_that_serves_nowhere_are_named(registry, config):
    with pytest.raises(BadUsage, match="no stage 'moon'"):
        ask(config, 1, "moon")
    with pytest.raises(BadInput, match="does not serve"):
        roll_back("net", None, "", config, read_settings())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build overlays")
def test_a_canary_starts_stops_and_ends_with_its_promotion(registry, config, tmp_path, monkeypatch):
    sha256 = registry.add(1, right=10)
    overlay = tmp_path / "checkout/infra/overlays/staging"
    clean = {path.name: path.read_bytes() for path in overlay.iterdir()}
    request = Request("net", "1", "staging")
    with pytest.raises(Refused, match="uri"):  # a folder is nothing a cluster can read
        start_canary(request, 10, None, config, read_settings(), on_gate=lambda gate: None)
    assert {path.name: path.read_bytes() for path in overlay.iterdir()} == clean

    monkeypatch.setattr("training.promotion.gates.CLUSTER_SCHEMES", ("file",))
    start_canary(request, 10, None, config, read_settings(), on_gate=lambda gate: None)
    standing = PromotionLog(read_settings()).live()["staging", "action"]
    assert standing.canary is not None
    assert (standing.canary.deployment.sha256, standing.canary.share_percent) == (sha256, 10)
    assert (overlay / CANARY_FILE).exists()
    stop_canary("action", None, "", None, config, read_settings())
    assert {path.name: path.read_bytes() for path in overlay.iterdir()} == clean
    assert PromotionLog(read_settings()).live()["staging", "action"].canary is None

    start_canary(request, 50, None, config, read_settings(), on_gate=lambda gate: None)
    monkeypatch.setattr(stage, "open_champion", lambda *_: None)
    ask(config, 1, "staging")
    assert not (overlay / CANARY_FILE).exists()
    assert git(overlay, "status", "--porcelain") == ""
    assert PromotionLog(read_settings()).live()["staging", "action"].canary is None
