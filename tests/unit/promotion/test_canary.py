import json
import shutil
from pathlib import Path

import pytest
import yaml

from services.contracts.errors import BadInput, BadUsage
from services.graph.router import GraphExecutor
from services.graph.spec import parse_graph
from services.graph.transports import LocalServices
from training.manifests.check import find_faults
from training.manifests.manifest import build, of_kind
from training.promotion.canary import CANARY_FILE, read_canary, remove_canary, write_canary
from training.promotion.deployments import Deployment

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build overlays")

NEW = Deployment("any", "action", "action-big", "7", "cccc", f"s3://bucket/action-big/{'c' * 64}/", "c" * 64)
FACE = Deployment("any", "face_detection", "finder", "7", "dddd", f"s3://bucket/finder/{'d' * 64}/", "d" * 64)


@pytest.fixture
def overlays(repository, tmp_path) -> Path:
    return Path(shutil.copytree(repository / "infra", tmp_path / "infra")) / "overlays"


def test_in_standard_mode_a_second_predictor_takes_its_share(overlays):
    write_canary(overlays / "staging", NEW, 10)
    built = build(overlays / "staging")
    service = of_kind(built, "InferenceService")["action"]
    (canary,) = service.at("spec", "canary")
    assert canary["trafficPercent"] == 10
    assert canary["predictor"]["storageUris"] == [{"uri": NEW.uri, "mountPath": "/mnt/models/action"}]
    assert canary["predictor"]["model"]["env"] == [{"name": "WHODID_PINS", "value": f"action={NEW.sha256}"}]
    assert canary["predictor"]["model"]["runtime"] == service.at("spec", "predictor", "model", "runtime")
    assert NEW.sha256 not in str(service.at("spec", "predictor"))


def test_under_knative_the_new_revision_takes_its_share(overlays):
    write_canary(overlays / "production-knative", NEW, 0)
    predictor = of_kind(build(overlays / "production-knative"), "InferenceService")["action"].at("spec", "predictor")
    assert predictor["canaryTrafficPercent"] == 0
    assert predictor["storageUris"] == [{"uri": NEW.uri, "mountPath": "/mnt/models/action"}]
    assert predictor["serviceAccountName"] == "action"


def test_where_neither_mode_shares_traffic_the_graph_does(overlays):
    write_canary(overlays / "staging", NEW, 10, splitter=True)
    built = build(overlays / "staging")
    services = of_kind(built, "InferenceService")
    assert services["action-canary"].at("spec", "predictor", "storageUris", 0, "uri") == NEW.uri
    assert services["action-canary"].at("spec", "predictor", "model", "runtime") == "action"
    assert NEW.sha256 not in str(services["action"].body)
    graph = parse_graph(json.dumps(of_kind(built, "InferenceGraph")["whodid"].body))
    answers = {
        "tracks": {"tracks": 1},
        "identity": {"who": 1},
        "action": {"version": "stable"},
        "http://action-canary-predictor.whodid-staging.svc.cluster.local/v1/models/action:predict": {"version": "new"},
    }
    bodies = {name: json.dumps(answer).encode() for name, answer in answers.items()}
    functions = {name: lambda _, name=name: (200, bodies[name]) for name in bodies}
    executor = GraphExecutor(graph, LocalServices({**functions, "events": lambda body: (200, body)}))
    replies = [json.loads(executor.run(b"{}", ()).body) for _ in range(400)]
    assert all(reply["identity"] == {"who": 1} for reply in replies)
    share = sum(reply["action"] == {"version": "new"} for reply in replies) / len(replies)
    assert 0.03 < share < 0.2


def test_knative_needs_no_splitter(overlays):
    with pytest.raises(BadUsage, match="shares traffic by itself"):
        write_canary(overlays / "production-knative", NEW, 10, splitter=True)


@pytest.mark.parametrize(
    ("overlay", "splitter"),
    [("staging", False), ("production", False), ("production-knative", False), ("local", True), ("production", True)],
)
@pytest.mark.parametrize("deployment", [NEW, FACE], ids=["action", "one of two networks"])
def test_an_overlay_with_a_canary_is_as_valid_as_without_and_ending_it_leaves_nothing(
    overlays, repository, overlay, splitter, deployment
):
    folder = overlays / overlay
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    faults = list(find_faults(build(folder), repository / "infra/images"))
    write_canary(folder, deployment, 10, splitter=splitter)
    write_canary(folder, deployment, 50, splitter=splitter)
    assert list(find_faults(build(folder), repository / "infra/images")) == faults
    assert (folder / "kustomization.yaml").read_text().count(CANARY_FILE) == 1
    remove_canary(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_of_two_networks_the_other_stays_as_it_was(overlays):
    stable = of_kind(build(overlays / "staging"), "InferenceService")["tracks"].at("spec", "predictor")
    write_canary(overlays / "staging", FACE, 10)
    (canary,) = of_kind(build(overlays / "staging"), "InferenceService")["tracks"].at("spec", "canary")
    assert canary["predictor"]["storageUris"][0] == stable["storageUris"][0]
    assert canary["predictor"]["storageUris"][1]["uri"] == FACE.uri


def test_one_service_at_a_time_and_no_more_than_half(overlays):
    write_canary(overlays / "staging", NEW, 10)
    assert read_canary(overlays / "staging") == "action"
    with pytest.raises(BadUsage, match="one service at a time"):
        write_canary(overlays / "staging", FACE, 10)
    with pytest.raises(BadUsage, match="--percent 51"):
        write_canary(overlays / "staging", NEW, 51)
    with pytest.raises(BadInput, match="no canary"):
        remove_canary(overlays / "production")


def test_the_patch_is_plain_yaml_and_says_whose_it_is(overlays):
    write_canary(overlays / "staging", NEW, 10)
    patch = yaml.safe_load((overlays / "staging" / CANARY_FILE).read_text())
    assert patch["metadata"]["annotations"]["whodid/canary"] == f"action-big@cccc {NEW.sha256}"
