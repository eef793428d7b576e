"""Canary: a new version of one service takes a share of the traffic beside the one that serves.

Files of its own in the overlay; the stable pins in models.yaml stay as they are, so ending a canary is deleting files.
Traffic is shared differently by mode:

* Knative: the patch names the new weights and `canaryTrafficPercent`; the last ready revision keeps the rest.
* Standard: `spec.canary[]` (KServe 0.20) starts a second Deployment and weighs an HTTPRoute. It may not scale itself.
* Where neither is there, the graph: a second InferenceService, and a Splitter node in place of the service's step.

At 0 percent the new version runs without traffic from users: a shadow, to which copies of requests can be sent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.contracts.errors import BadInput, BadUsage
from training.manifests.house import canary_of, canary_url
from training.manifests.manifest import build, of_kind
from training.manifests.safety import SERVICE_LABEL
from training.promotion.deployments import Deployment
from training.promotion.pins import SERVICE_OF_TASK, format_pins, mount_of, parse_pins

CANARY_FILE = "canary.yaml"
SECOND_SERVICE_FILE = "canary-service.yaml"
KUSTOMIZATION_FILE = "kustomization.yaml"
# What starting or ending a canary may touch in an overlay.
CANARY_FILES = (CANARY_FILE, SECOND_SERVICE_FILE, KUSTOMIZATION_FILE)
# A canary is scaled with its service; KServe's webhook refuses these in it.
SCALING_FIELDS = frozenset(
    {"minReplicas", "maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget", "autoScaling"}
)
_SERVICE = "whodid/canary-of"
_HEADER = "# Written by `whodid canary start`, deleted by `whodid canary stop`.\n"


def write_canary(overlay: Path, deployment: Deployment, percent: int, *, splitter: bool = False) -> list[Path]:
    """Write the patch of a canary and list it in the overlay.

    Args:
        overlay: Where the canary runs.
        deployment: The new version.
        percent: Of the traffic, 0 to 50: from more than half on it is the stable version, so promote it.
        splitter: Share the traffic in the graph.

    Returns:
        The files written.

    Raises:
        BadUsage: The share is out of range, another service has a canary already, or Knative shares by itself.
    """
    if not 0 <= percent <= 50:
        raise BadUsage(f"--percent {percent}: a canary takes 0 (shadow) to 50 percent; promote what should take more")
    service = SERVICE_OF_TASK[deployment.task]
    running = read_canary(overlay)
    if running is not None and running != service:
        raise BadUsage(f"{overlay} has a canary of {running}: one service at a time; end that one first")
    if running:
        remove_canary(overlay)
    if splitter:
        if is_knative(overlay):
            raise BadUsage(f"{overlay} runs on Knative, which shares traffic by itself: leave out --splitter")
        return _split(overlay, service, deployment, percent)
    if is_knative(overlay):
        stable = of_kind(build(overlay), "InferenceService")[service]
        weights = _weights(stable.at("spec", "predictor"), deployment)
        spec: dict[str, Any] = {"predictor": {"canaryTrafficPercent": percent, **weights}}
    else:
        predictor = _whole_predictor(overlay, service, deployment)
        spec = {"canary": [{"trafficPercent": percent, "predictor": predictor}]}
    patch = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service, "annotations": _annotations(service, deployment)},
        "spec": spec,
    }
    return [_write(overlay / CANARY_FILE, patch), _list(overlay, "patches", f"path: {CANARY_FILE}", listed=True)]


def _split(overlay: Path, service: str, deployment: Deployment, percent: int) -> list[Path]:
    """A second service beside the first, and a Splitter where the graph called the first alone."""
    built = build(overlay)
    stable = of_kind(built, "InferenceService")[service]
    (graph,) = of_kind(built, "InferenceGraph").values()
    second, versions = canary_of(service), f"{service}-versions"
    predictor = stable.at("spec", "predictor")
    weights = _weights(predictor, deployment)
    beside = {
        "apiVersion": stable.body["apiVersion"],
        "kind": "InferenceService",
        "metadata": {
            "name": second,
            "labels": stable.at("metadata", "labels"),
            "annotations": {
                **{key: value for key, value in stable.annotations().items() if not key.startswith("whodid/")},
                **_annotations(service, deployment),
                "whodid/model": f"{deployment.name}@{deployment.card_version}",
            },
        },
        "spec": {
            "predictor": {
                **predictor,
                "model": {**predictor["model"], **weights["model"]},
                "storageUris": weights["storageUris"],
            }
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": second},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {SERVICE_LABEL: second}}},
    }
    patch = {
        "apiVersion": graph.body["apiVersion"],
        "kind": "InferenceGraph",
        "metadata": {"name": graph.name, "annotations": _annotations(service, deployment)},
        "spec": {
            "nodes": {
                **{
                    # Lists are written whole, as a patch replaces them whole.
                    name: {**node, "steps": [_led_to(versions, step, service) for step in node["steps"]]}
                    for name, node in graph.at("spec", "nodes").items()
                    if any(step.get("serviceName") == service for step in node["steps"])
                },
                versions: {
                    "routerType": "Splitter",
                    "steps": [
                        {"name": service, "serviceName": service, "weight": 100 - percent},
                        # By url: by name the router would ask for a model of the second service's name.
                        {"name": second, "serviceUrl": canary_url(stable), "weight": percent},
                    ],
                },
            }
        },
    }
    return [
        _write(overlay / CANARY_FILE, patch),
        _write(overlay / SECOND_SERVICE_FILE, beside, budget),
        _list(overlay, "patches", f"path: {CANARY_FILE}", listed=True),
        _list(overlay, "resources", SECOND_SERVICE_FILE, listed=True),
    ]


def _led_to(node: str, step: dict[str, Any], service: str) -> dict[str, Any]:
    if step.get("serviceName") != service:
        return step
    return {**{key: value for key, value in step.items() if key != "serviceName"}, "nodeName": node}


def remove_canary(overlay: Path) -> list[Path]:
    """Delete the patch of a canary and its mention.

    Returns:
        The files changed.

    Raises:
        BadInput: There is none.
    """
    if read_canary(overlay) is None:
        raise BadInput(f"no canary runs in {overlay}")
    changed = [_list(overlay, "patches", f"path: {CANARY_FILE}", listed=False)]
    _list(overlay, "resources", SECOND_SERVICE_FILE, listed=False)
    for path in (overlay / CANARY_FILE, overlay / SECOND_SERVICE_FILE):
        if path.exists():
            path.unlink()
            changed.append(path)
    return changed


def read_canary(overlay: Path) -> str | None:
    """The service that has a canary in this overlay."""
    path = overlay / CANARY_FILE
    return str(yaml.safe_load(path.read_text())["metadata"]["annotations"][_SERVICE]) if path.exists() else None


def is_knative(overlay: Path) -> bool:
    """Whether Knative runs the services of an overlay; everything else is Standard mode."""
    components = _read_kustomization(overlay).get("components", [])
    return any(Path(component).name == "knative" for component in components)


def _weights(predictor: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
    """Pins and uris with one task's replaced. Lists are written whole, as a patch replaces them whole."""
    env = [dict(variable) for variable in predictor["model"]["env"]]
    for variable in env:
        if variable["name"] == "WHODID_PINS":
            pins = {**parse_pins(variable["value"]), deployment.task: deployment.sha256}
            variable["value"] = format_pins(pins)
    mount = mount_of(deployment.task)
    uris = [
        {"uri": deployment.uri if each["mountPath"] == mount else str(each["uri"]), "mountPath": str(each["mountPath"])}
        for each in predictor["storageUris"]
    ]
    if mount not in [each["mountPath"] for each in uris]:
        uris.append({"uri": deployment.uri, "mountPath": mount})
    return {"model": {"env": env}, "storageUris": uris}


def _whole_predictor(overlay: Path, service: str, deployment: Deployment) -> dict[str, Any]:
    """All of the service's predictor as the overlay builds it, with the new weights: a second one inherits nothing."""
    built = of_kind(build(overlay), "InferenceService")
    if service not in built:
        raise BadInput(f"{overlay} builds no InferenceService {service}")
    predictor: dict[str, Any] = built[service].at("spec", "predictor")
    weights = _weights(predictor, deployment)
    kept = {name: value for name, value in predictor.items() if name not in SCALING_FIELDS}
    return {
        **kept,
        "name": f"canary-{deployment.sha256[:8]}",
        "model": {**predictor["model"], **weights["model"]},
        "storageUris": weights["storageUris"],
    }


def _annotations(service: str, deployment: Deployment) -> dict[str, str]:
    return {
        "whodid/canary": f"{deployment.name}@{deployment.card_version} {deployment.sha256}",
        _SERVICE: service,
    }


def _write(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text(_HEADER + yaml.safe_dump_all(documents, sort_keys=False, width=4096))
    return path


def _list(overlay: Path, section: str, entry: str, *, listed: bool) -> Path:
    """Name a file in a section of the overlay's kustomization, after every other one, or no longer."""
    path = overlay / KUSTOMIZATION_FILE
    lines = [line for line in path.read_text().splitlines() if line.strip() != f"- {entry}"]
    if listed:
        if f"{section}:" not in lines:
            lines.append(f"{section}:")
        start = lines.index(f"{section}:") + 1
        end = next(
            (i for i in range(start, len(lines)) if lines[i] and not lines[i].startswith((" ", "-", "#"))), len(lines)
        )
        lines.insert(end, f"  - {entry}")
    elif lines and lines[-1] == f"{section}:":
        lines.pop()
    path.write_text("\n".join(lines) + "\n")
    return path


def _read_kustomization(overlay: Path) -> dict[str, Any]:
    path = overlay / KUSTOMIZATION_FILE
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"{overlay} is no overlay: it has no {KUSTOMIZATION_FILE}") from None
    return dict(found)
