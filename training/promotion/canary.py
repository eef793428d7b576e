"""Canary: a new version of one service takes a share of the traffic beside the one that serves.

One patch file in the overlay, `canary.yaml`; the stable pins in models.yaml stay as they are, so ending a canary is
deleting a file. KServe shares traffic by itself, differently by mode:

* Knative: the patch names the new weights and `canaryTrafficPercent`; the last ready revision keeps the rest.
* Standard: `spec.canary[]` (KServe 0.20) starts a second Deployment and weighs an HTTPRoute. It may not scale itself.

At 0 percent the new version runs without traffic from users: a shadow, to which copies of requests can be sent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.contracts.errors import BadInput, BadUsage
from training.manifests.manifest import build, of_kind
from training.promotion.deployments import Deployment
from training.promotion.pins import SERVICE_OF_TASK, format_pins, mount_of, parse_pins

CANARY_FILE = "canary.yaml"
KUSTOMIZATION_FILE = "kustomization.yaml"
# A canary is scaled with its service; KServe's webhook refuses these in it.
SCALING_FIELDS = frozenset(
    {"minReplicas", "maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget", "autoScaling"}
)
_HEADER = "# Written by `whodid canary start`, deleted by `whodid canary stop`.\n"


def write_canary(overlay: Path, deployment: Deployment, percent: int) -> list[Path]:
    """Write the patch of a canary and list it in the overlay.

    Args:
        overlay: Where the canary runs.
        deployment: The new version.
        percent: Of the traffic, 0 to 50: from more than half on it is the stable version, so promote it.

    Returns:
        The files written.

    Raises:
        BadUsage: The share is out of range, or another service has a canary already.
    """
    if not 0 <= percent <= 50:
        raise BadUsage(f"--percent {percent}: a canary takes 0 (shadow) to 50 percent; promote what should take more")
    service = SERVICE_OF_TASK[deployment.task]
    running = read_canary(overlay)
    if running is not None and running != service:
        raise BadUsage(f"{overlay} has a canary of {running}: one service at a time; end that one first")
    if running:
        remove_canary(overlay)
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
        "metadata": {
            "name": service,
            "annotations": {"whodid/canary": f"{deployment.name}@{deployment.card_version} {deployment.sha256}"},
        },
        "spec": spec,
    }
    path = overlay / CANARY_FILE
    path.write_text(_HEADER + yaml.safe_dump(patch, sort_keys=False, width=4096))
    kustomization = _list_patch(overlay, listed=True)
    return [path, kustomization]


def remove_canary(overlay: Path) -> list[Path]:
    """Delete the patch of a canary and its mention.

    Returns:
        The files changed.

    Raises:
        BadInput: There is none.
    """
    path = overlay / CANARY_FILE
    if not path.exists():
        raise BadInput(f"no canary runs in {overlay}")
    path.unlink()
    return [path, _list_patch(overlay, listed=False)]


def read_canary(overlay: Path) -> str | None:
    """The service that has a canary in this overlay."""
    path = overlay / CANARY_FILE
    return str(yaml.safe_load(path.read_text())["metadata"]["name"]) if path.exists() else None


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


def _list_patch(overlay: Path, *, listed: bool) -> Path:
    """Name the patch in the overlay's kustomization, after every other one, or no longer."""
    path = overlay / KUSTOMIZATION_FILE
    lines = [line for line in path.read_text().splitlines() if line.strip() != f"- path: {CANARY_FILE}"]
    if listed:
        if "patches:" not in lines:
            lines.append("patches:")
        start = lines.index("patches:") + 1
        end = next(
            (i for i in range(start, len(lines)) if lines[i] and not lines[i].startswith((" ", "-", "#"))), len(lines)
        )
        lines.insert(end, f"  - path: {CANARY_FILE}")
    elif lines and lines[-1] == "patches:":
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
