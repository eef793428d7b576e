"""Webhooks: what KServe's admission webhooks would refuse, and what they let through though it does nothing.

Source: KServe v0.20, pkg/apis/serving (validation of InferenceService, ServingRuntime, InferenceGraph).
"""

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

from services.contracts.errors import BadUsage
from services.graph.spec import parse_graph
from training.manifests.manifest import Manifest, of_kind

MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
AUTOSCALER_ANNOTATION = "serving.kserve.io/autoscalerClass"
MODES = ("Standard", "Knative")
SCHEMES = ("s3", "gs", "https", "pvc", "hf", "oci")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_AUTOSCALERS = ("hpa", "keda", "external", "none")
_SCALING_FIELDS = ("minReplicas", "maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget", "autoScaling")
_SCALE_METRICS = {"Standard": ("cpu", "memory"), "Knative": ("concurrency", "rps", "cpu", "memory")}


def webhook_faults(manifest: Manifest, overlay: Sequence[Manifest]) -> Iterator[str]:
    """What a cluster would refuse of this object, or accept and silently ignore."""
    match manifest.kind:
        case "InferenceService":
            yield from _mode_faults(manifest)
            yield from _service_faults(manifest, overlay)
        case "ServingRuntime":
            yield from _runtime_faults(manifest)
        case "InferenceGraph":
            yield from _mode_faults(manifest)
            try:
                # Everything its webhook checks, and the cycles and missing nodes that it does not.
                parse_graph(json.dumps(manifest.body))
            except BadUsage as fault:
                yield str(fault)


def mode_of(manifest: Manifest) -> str | None:
    """Its deployment mode."""
    return manifest.annotations().get(MODE_ANNOTATION)


def _mode_faults(manifest: Manifest) -> Iterator[str]:
    if (mode := mode_of(manifest)) not in MODES:
        yield f"{MODE_ANNOTATION} is {mode!r}; it must be one of {', '.join(MODES)}"


def _service_faults(service: Manifest, overlay: Sequence[Manifest]) -> Iterator[str]:
    if not _NAME.fullmatch(service.name):
        yield f"the name {service.name!r} must match ^{_NAME.pattern}$"
    predictor = service.at("spec", "predictor") or {}
    yield from _storage_faults(predictor)
    yield from _scaling_faults(service, predictor)
    yield from _canary_faults(service, predictor)
    if ("model" in predictor) == ("containers" in predictor):
        yield "the predictor needs either a model with a runtime or containers, and not both"
    runtime_name = service.at("spec", "predictor", "model", "runtime")
    if runtime_name is None:
        return
    runtime = of_kind(overlay, "ServingRuntime").get(runtime_name)
    wanted = service.at("spec", "predictor", "model", "modelFormat", "name")
    if runtime is None:
        yield f"its runtime {runtime_name!r} is not in this overlay"
    elif wanted not in [form.get("name") for form in runtime.at("spec", "supportedModelFormats") or []]:
        yield f"its runtime {runtime_name!r} does not support the model format {wanted!r}"


def _storage_faults(predictor: dict[str, Any]) -> Iterator[str]:
    one = (predictor.get("model") or {}).get("storageUri")
    several = predictor.get("storageUris") or []
    if one and several:
        yield "storageUri and storageUris exclude each other"
    mounts = [str(storage.get("mountPath", "/mnt/models")) for storage in several]
    for mount in mounts:
        if not mount.startswith("/") or mount == "/" or ".." in mount:
            yield f"mountPath {mount!r} must be absolute, below / and without .."
    if len(set(mounts)) < len(mounts):
        yield f"mountPaths {mounts} are not all different"
    elif len(mounts) > 1 and all(map(posixpath.isabs, mounts)) and posixpath.commonpath(mounts) == "/":
        yield f"mountPaths {mounts} have no parent in common"
    for uri in [one] if one else [storage.get("uri") for storage in several]:
        if str(uri).partition("://")[0] not in SCHEMES:
            yield f"KServe's storage initializer reads {', '.join(SCHEMES)}, not {uri!r}"


def _scaling_faults(service: Manifest, predictor: dict[str, Any]) -> Iterator[str]:
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    if least < 0 or most < 0 or (most and least > most):
        yield f"minReplicas {least} and maxReplicas {most}: need 0 <= minReplicas <= maxReplicas"
    if predictor.get("containerConcurrency", 0) < 0:
        yield f"containerConcurrency {predictor['containerConcurrency']} is negative"
    autoscaler = service.annotations().get(AUTOSCALER_ANNOTATION)
    if autoscaler is not None and autoscaler not in _AUTOSCALERS:
        yield f"{AUTOSCALER_ANNOTATION} is {autoscaler!r}; it must be one of {', '.join(_AUTOSCALERS)}"
    metrics = (predictor.get("autoScaling") or {}).get("metrics")
    if (autoscaler == "keda") != bool(metrics):
        yield f"autoScaling.metrics and {AUTOSCALER_ANNOTATION}: keda belong together"
    if autoscaler is not None and mode_of(service) == "Knative":
        yield f"{AUTOSCALER_ANNOTATION} means nothing to Knative"
    metric, target = predictor.get("scaleMetric"), predictor.get("scaleTarget")
    allowed = _SCALE_METRICS.get(mode_of(service) or "", ())
    if metric is not None and metric not in allowed:
        yield f"scaleMetric {metric!r}: mode {mode_of(service)} scales on {', '.join(allowed)}"
    if metric in ("cpu", "memory") and target is not None and not 1 <= target <= 100:
        yield f"scaleTarget {target}: a share of {metric} is from 1 to 100 percent"


def _canary_faults(service: Manifest, predictor: dict[str, Any]) -> Iterator[str]:
    percent, canaries = predictor.get("canaryTrafficPercent"), service.at("spec", "canary") or []
    if percent is not None and mode_of(service) != "Knative":
        yield "canaryTrafficPercent works in Knative mode only and is silently ignored here: use spec.canary"
    if percent is not None and not 0 <= percent <= 100:
        yield f"canaryTrafficPercent {percent} is not from 0 to 100"
    if not canaries:
        return
    if mode_of(service) != "Standard":
        yield "spec.canary works in Standard mode only: use predictor.canaryTrafficPercent"
    names = [predictor.get("name"), *((canary.get("predictor") or {}).get("name") for canary in canaries)]
    if None in names[1:] or len(set(names)) < len(names):
        yield f"every canary's predictor needs a name of its own; they have {names}"
    shares = [canary.get("trafficPercent") or 0 for canary in canaries]
    if min(shares) < 0 or sum(shares) > 100:
        yield f"the canaries' traffic {shares} must be 100 percent at most"
    for canary in canaries:
        for field in _SCALING_FIELDS:
            if field in (canary.get("predictor") or {}):
                yield f"a canary's predictor has {field}: it is scaled with its service"


def _runtime_faults(runtime: Manifest) -> Iterator[str]:
    names = [container.get("name") for container in runtime.at("spec", "containers") or []]
    if "kserve-container" not in names:
        yield f"no container is called kserve-container; there are {names}"
    if len(set(names)) < len(names):
        yield f"container names {names} are not all different"
    formats = runtime.at("spec", "supportedModelFormats") or []
    for form in formats:
        if form.get("autoSelect") and [other.get("name") for other in formats].count(form.get("name")) > 1:
            yield f"model format {form.get('name')!r} is there twice and selected automatically"
