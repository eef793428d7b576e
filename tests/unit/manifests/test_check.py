"""Every overlay is sound, and every rule catches what it is there for."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.contracts.errors import BadInput
from training.manifests.__main__ import IMAGES, main
from training.manifests.check import find_faults
from training.manifests.house import unbuilt_images
from training.manifests.manifest import Manifest, build

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on the PATH")

OVERLAYS = ("local", "staging", "production", "production-knative")
Body = dict[str, Any]


@pytest.fixture(scope="module")
def built(repository: Path) -> dict[str, list[Manifest]]:
    folders = {name: repository / "infra" / "overlays" / name for name in OVERLAYS}
    return {name: build(folder) for name, folder in {**folders, "platform": repository / "infra" / "platform"}.items()}


@pytest.mark.parametrize("name", [*OVERLAYS, "platform"])
def test_what_is_there_is_sound(built: dict[str, list[Manifest]], name: str) -> None:
    assert list(find_faults(built[name], IMAGES)) == []


def pick(bodies: list[Body], kind: str, name: str) -> Body:
    (found,) = [body for body in bodies if (body["kind"], body["metadata"]["name"]) == (kind, name)]
    return found


def service(bodies: list[Body], name: str = "action") -> Body:
    return pick(bodies, "InferenceService", name)


def predictor(bodies: list[Body], name: str = "action") -> Body:
    inner: Body = service(bodies, name)["spec"]["predictor"]
    return inner


def runtime(bodies: list[Body], name: str = "action") -> Body:
    container: Body = pick(bodies, "ServingRuntime", name)["spec"]["containers"][0]
    return container


def nodes(bodies: list[Body]) -> Body:
    inner: Body = pick(bodies, "InferenceGraph", "whodid")["spec"]["nodes"]
    return inner


def drop(bodies: list[Body], kind: str, name: str) -> None:
    bodies.remove(pick(bodies, kind, name))


def canary(*shares: int, **fields: Any) -> list[Body]:
    return [
        {
            "trafficPercent": share,
            "predictor": {"name": f"next-{index}", "model": {"modelFormat": {"name": "x"}}, **fields},
        }
        for index, share in enumerate(shares)
    ]


def allow(policy: Body, peer: Body) -> None:
    policy["spec"]["ingress"].append({"from": [peer], "ports": [{"protocol": "TCP", "port": 8080}]})


UID = "0123456789abcdef0123456789abcdef"
PLANTED: dict[str, tuple[str, Callable[[list[Body]], object], str]] = {
    # shapes
    "unknown field": (
        "local",
        lambda m: predictor(m).update(replicas=2),
        "replicas is no field of V1beta1PredictorSpec",
    ),
    "snake case": ("local", lambda m: nodes(m)["root"].update(router_type="x"), "router_type is no field"),
    "wrong type": ("local", lambda m: predictor(m).update(minReplicas="1"), "minReplicas is '1', not int"),
    "missing field": ("local", lambda m: predictor(m)["model"].pop("modelFormat"), "model_format"),
    "deep in Kubernetes": ("local", lambda m: runtime(m)["readinessProbe"].update(httpget={}), "httpget is no field"),
    "wrong version": ("local", lambda m: service(m).update(apiVersion="serving.kserve.io/v1"), "served as"),
    "unknown kind": ("local", lambda m: m.append({"kind": "Gadget", "metadata": {"name": "x"}}), "kind Gadget"),
    "twice": ("local", lambda m: m.append(copy.deepcopy(service(m))), "is there twice"),
    # the graph
    "bad graph name": (
        "local",
        lambda m: pick(m, "InferenceGraph", "whodid")["metadata"].update(name="2"),
        "must match",
    ),
    "no root": ("local", lambda m: nodes(m).update(start=nodes(m).pop("root")), "'root' is missing"),
    "same step name": (
        "local",
        lambda m: nodes(m)["who-and-what"]["steps"].append({"name": "action", "serviceName": "events"}),
        "several steps named 'action'",
    ),
    "two targets": ("local", lambda m: nodes(m)["root"]["steps"][0].update(serviceUrl="http://x"), "exactly one of"),
    "no target": ("local", lambda m: nodes(m)["root"]["steps"][0].pop("serviceName"), "exactly one of"),
    "splitter weights": (
        "local",
        lambda m: nodes(m)["who-and-what"].update(
            routerType="Splitter",
            steps=[
                {"name": "identity", "serviceName": "identity", "weight": 50},
                {"name": "action", "serviceName": "action", "weight": 49},
            ],
        ),
        "do not sum to 100",
    ),
    "cycle": ("local", lambda m: nodes(m)["who-and-what"]["steps"].append({"name": "x", "nodeName": "root"}), "cycle"),
    "missing node": ("local", lambda m: nodes(m)["root"]["steps"][1].update(nodeName="gone"), "'gone'"),
    "wrong router type": ("local", lambda m: nodes(m)["root"].update(routerType="Sequnce"), "routerType"),
    "router too hasty": (
        "local",
        lambda m: pick(m, "InferenceGraph", "whodid")["spec"].pop("routerTimeouts"),
        "serverWrite of 60 s is shorter",
    ),
    # KServe's other webhooks
    "service name": ("local", lambda m: service(m)["metadata"].update(name="Action"), "'Action' must match"),
    "mode": (
        "local",
        lambda m: service(m)["metadata"]["annotations"].update({"serving.kserve.io/deploymentMode": "Raw"}),
        "must be one of Standard, Knative",
    ),
    "no such runtime": ("local", lambda m: predictor(m)["model"].update(runtime="x"), "'x' is not in this overlay"),
    "format unsupported": (
        "local",
        lambda m: predictor(m)["model"]["modelFormat"].update(name="onnx"),
        "does not support the model format",
    ),
    "two implementations": ("local", lambda m: predictor(m).update(containers=[{"name": "x"}]), "not both"),
    "replicas": ("local", lambda m: predictor(m).update(minReplicas=9), "minReplicas <= maxReplicas"),
    "concurrency": ("local", lambda m: predictor(m).update(containerConcurrency=-1), "is negative"),
    "both storages": ("local", lambda m: predictor(m)["model"].update(storageUri="s3://x"), "exclude each other"),
    "mlflow uri": (
        "local",
        lambda m: predictor(m)["storageUris"][0].update(uri="models:/action@champion"),
        "storage initializer reads",
    ),
    "mount at root": ("local", lambda m: predictor(m)["storageUris"][0].update(mountPath="/"), "below /"),
    "mounts apart": (
        "local",
        lambda m: predictor(m, "tracks")["storageUris"][0].update(mountPath="/srv/x"),
        "no parent in common",
    ),
    "mounts alike": (
        "local",
        lambda m: predictor(m, "tracks")["storageUris"][0].update(mountPath="/mnt/models/face_detection"),
        "not all different",
    ),
    "autoscaler": (
        "production",
        lambda m: service(m)["metadata"]["annotations"].update({"serving.kserve.io/autoscalerClass": "kpa"}),
        "autoscalerClass is 'kpa'",
    ),
    "keda without metrics": ("production", lambda m: predictor(m).pop("autoScaling"), "belong together"),
    "keda on Knative": (
        "production-knative",
        lambda m: service(m)["metadata"]["annotations"].update({"serving.kserve.io/autoscalerClass": "external"}),
        "means nothing to Knative",
    ),
    "metric of the other mode": ("local", lambda m: predictor(m).update(scaleMetric="concurrency"), "scales on cpu"),
    "scale target": ("local", lambda m: predictor(m).update(scaleTarget=170), "1 to 100 percent"),
    "canary of the other mode": ("local", lambda m: predictor(m).update(canaryTrafficPercent=10), "silently ignored"),
    "canary percent": ("production-knative", lambda m: predictor(m).update(canaryTrafficPercent=101), "from 0 to 100"),
    "canary list on Knative": (
        "production-knative",
        lambda m: service(m)["spec"].update(canary=canary(5)),
        "Standard mode",
    ),
    "canary without a name": ("local", lambda m: service(m)["spec"].update(canary=canary(5, name=None)), "of its own"),
    "canary over 100": ("local", lambda m: service(m)["spec"].update(canary=canary(60, 60)), "100 percent at most"),
    "canary that scales": (
        "local",
        lambda m: service(m)["spec"].update(canary=canary(5, minReplicas=1)),
        "scaled with",
    ),
    "no kserve-container": ("local", lambda m: runtime(m).update(name="server"), "called kserve-container"),
    # one word
    "service gone": ("local", lambda m: drop(m, "InferenceService", "events"), "which is no service here"),
    "step name": ("local", lambda m: nodes(m)["root"]["steps"][0].update(name="decode"), "give it its service's name"),
    "another's runtime": (
        "local",
        lambda m: predictor(m)["model"].update(runtime="identity", modelFormat={"name": "whodid-identity"}),
        "not on the runtime of its own name",
    ),
    "command": ("local", lambda m: runtime(m).update(command=["python", "-m", "services.identity"]), "services.action"),
    "early probe": (
        "local",
        lambda m: runtime(m)["readinessProbe"]["httpGet"].update(path="/v2/health/ready"),
        "knows of",
    ),
    "no liveness": ("local", lambda m: runtime(m).pop("livenessProbe"), "no livenessProbe"),
    # pins and images
    "no pin": ("local", lambda m: predictor(m)["model"].pop("env"), "its tasks are ['action']"),
    "pin of a name": ("local", lambda m: predictor(m)["model"]["env"][0].update(value="action=champion"), "no sha256"),
    "mutable uri": (
        "local",
        lambda m: predictor(m)["storageUris"][0].update(uri="s3://models/action/latest/"),
        "may change",
    ),
    "no storage": ("local", lambda m: predictor(m).pop("storageUris"), "not at /mnt/models"),
    "version unsaid": ("local", lambda m: service(m)["metadata"]["annotations"].pop("whodid/model"), "which version"),
    "tag": ("local", lambda m: runtime(m).update(image="localhost:5001/whodid-serving:1.0"), "not pinned by a digest"),
    "unknown image": (
        "local",
        lambda m: runtime(m).update(image="x.io/whodid/other@sha256:" + "a" * 64),
        "has no Dockerfile",
    ),
    # secrets
    "secret object": (
        "platform",
        lambda m: m.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {}}),
        "kind Secret is not one",
    ),
    "secret variable": (
        "local",
        lambda m: runtime(m)["env"].append({"name": "DB_PASSWORD", "value": "hunter2"}),
        "in clear",
    ),
    "secret url": (
        "local",
        lambda m: runtime(m)["env"].append({"name": "GALLERY", "value": "postgresql://who:did@db/gallery"}),
        "holds a credential",
    ),
    # privileges
    "root": ("local", lambda m: runtime(m)["securityContext"].update(runAsNonRoot=False), "may run as root"),
    "writable": ("local", lambda m: runtime(m)["securityContext"].pop("readOnlyRootFilesystem"), "write to its image"),
    "escalation": ("local", lambda m: runtime(m)["securityContext"].pop("allowPrivilegeEscalation"), "gain privileges"),
    "capabilities": (
        "local",
        lambda m: runtime(m)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
        "capabilities",
    ),
    "seccomp": ("local", lambda m: runtime(m)["securityContext"].pop("seccompProfile"), "seccomp"),
    "token": ("local", lambda m: predictor(m).pop("automountServiceAccountToken"), "automountServiceAccountToken"),
    "account": ("local", lambda m: drop(m, "ServiceAccount", "action"), "'action' is not here"),
    "rights": (
        "local",
        lambda m: m.append({"apiVersion": "x", "kind": "RoleBinding", "metadata": {"name": "x"}}),
        "kind RoleBinding is not one",
    ),
    # network
    "open by default": ("local", lambda m: drop(m, "NetworkPolicy", "default-deny"), "denies everything"),
    "another caller": (
        "local",
        lambda m: allow(pick(m, "NetworkPolicy", "services"), {"namespaceSelector": {}}),
        "only the router may",
    ),
    "any port to Prometheus": (
        "local",
        lambda m: pick(m, "NetworkPolicy", "services")["spec"]["ingress"][1].pop("ports"),
        "only the router may",
    ),
    "router shut out": (
        "local",
        lambda m: pick(m, "NetworkPolicy", "services")["spec"]["ingress"].pop(0),
        "lets the router",
    ),
    "events reads the store": (
        "local",
        lambda m: pick(m, "NetworkPolicy", "store")["spec"].update(podSelector={}),
        "reads no store",
    ),
    "Knative shut out": ("production-knative", lambda m: drop(m, "NetworkPolicy", "knative"), "gateway and activator"),
    # running
    "a step that leaves the cluster": (
        "local",
        lambda m: nodes(m)["root"]["steps"].append({"name": "x", "serviceUrl": "http://elsewhere/"}),
        "which is no service's canary here",
    ),
    "audit log in the pod": (
        "production",
        lambda m: next(e for e in runtime(m, "identity")["env"] if e["name"] == "WHODID_AUDIT").update(
            value="/tmp/whodid/audit.jsonl"
        ),
        "it goes with the pod",
    ),
    "audit log on one node": (
        "production",
        lambda m: pick(m, "PersistentVolumeClaim", "audit")["spec"].update(accessModes=["ReadWriteOnce"]),
        "is not ReadWriteMany",
    ),
    "no budget": ("local", lambda m: drop(m, "PodDisruptionBudget", "router"), "no PodDisruptionBudget"),
    "budget of nothing": (
        "local",
        lambda m: pick(m, "PodDisruptionBudget", "action")["spec"].update(maxUnavailable=0),
        "never be drained",
    ),
    "no memory limit": ("local", lambda m: predictor(m)["model"]["resources"]["limits"].pop("memory"), "limit memory"),
    "GPU without toleration": ("production", lambda m: predictor(m).pop("tolerations"), "it lacks a toleration"),
    "GPU with the CPU image": (
        "production",
        lambda m: runtime(m).update(image=runtime(m, "tracks")["image"]),
        "it lacks the GPU image",
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_caught(built: dict[str, list[Manifest]], planted: str) -> None:
    name, plant, words = PLANTED[planted]
    bodies = [copy.deepcopy(manifest.body) for manifest in built[name]]
    plant(bodies)
    faults = list(find_faults([Manifest(body) for body in bodies], IMAGES))
    assert any(words in fault for fault in faults), faults


def test_an_uri_written_once_by_mlflow_is_immutable(built: dict[str, list[Manifest]]) -> None:
    bodies = [copy.deepcopy(manifest.body) for manifest in built["local"]]
    predictor(bodies)["storageUris"][0]["uri"] = f"s3://whodid-mlflow/1/models/m-{UID}/artifacts"
    assert list(find_faults([Manifest(body) for body in bodies], IMAGES)) == []


def test_images_that_are_not_built_yet_are_told(built: dict[str, list[Manifest]]) -> None:
    assert len(unbuilt_images(built["production"])) == 2


def test_the_command_lists_faults_and_fails(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(repository / "infra", tmp_path / "infra")
    overlay = tmp_path / "infra" / "overlays" / "local"
    main([str(overlay)])
    assert "objects are sound" in capsys.readouterr().out
    pins = overlay / "models.yaml"
    pins.write_text(pins.read_text().replace("face_embedding=6", "face_embedding=7"))
    with pytest.raises(BadInput, match="local"):
        main([str(overlay)])
    assert "InferenceService/identity" in capsys.readouterr().err
    pins.write_text("no: [kustomize")
    with pytest.raises(BadInput, match="does not build"):
        main([str(overlay)])


@pytest.fixture(scope="module")
def schemas(shared_data: Path) -> dict[str, Any]:
    """KServe's own schemas, closed to fields they do not know."""
    found = {}
    for path in (shared_data.parent / "kserve" / "crds").glob("*.yaml"):
        definition = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        for version in definition["versions"]:
            found[definition["names"]["kind"]] = json.loads(json.dumps(version["schema"]["openAPIV3Schema"]))
    for schema in found.values():
        _close(schema)
    return found


def _close(schema: Any) -> None:
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            # The API server checks metadata itself.
            if "metadata" in schema["properties"]:
                schema["properties"]["metadata"] = {}
            schema["additionalProperties"] = False
        for inner in schema.values():
            _close(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _close(inner)


def _crd_faults(manifests: list[Manifest], schemas: dict[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    for manifest in manifests:
        if manifest.kind in schemas:
            for error in Draft202012Validator(schemas[manifest.kind]).iter_errors(manifest.body):
                yield f"{manifest.title}: {error.json_path}: {error.message[:200]}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_kserves_own_schemas_accept_it(built: dict[str, list[Manifest]], schemas: dict[str, Any], name: str) -> None:
    assert list(_crd_faults(built[name], schemas)) == []
    broken = [Manifest(copy.deepcopy(manifest.body)) for manifest in built[name]]
    predictor([manifest.body for manifest in broken])["replicas"] = 1
    assert len(list(_crd_faults(broken, schemas))) == 1
