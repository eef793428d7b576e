"""House: our own rules. One word names package, service, runtime, step and probe; pins are digests; no secrets."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.assembly import LOADERS
from services.contracts.card import Task
from training.manifests.manifest import Manifest, of_kind

PINS = "WHODID_PINS"
TASKS: dict[str, tuple[Task, ...]] = {
    "tracks": ("person_detection", "face_detection"),
    "identity": ("face_embedding",),
    "action": ("action",),
    "events": (),
}
# What a service does beside its tasks where a model for it is pinned.
_OPTIONAL: dict[str, frozenset[Task]] = {"action": frozenset({"behaviour"})}
_CANARY = "-canary"
UNBUILT = "sha256:" + "0" * 64
_IMAGE = re.compile(r"(?P<repository>[^@\s]+?)(:[\w.-]+)?@sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# An MLflow run or logged model is written once and never again.
_WRITTEN_ONCE = re.compile(r"/(m-)?[0-9a-f]{32}/")
_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|private.?key|access.?key", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"://[^/\s:@]+:[^/\s@$]+@|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|\bgh[pousr]_[A-Za-z0-9]{30,}"
)


def naming_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """Step, service, runtime, package, command and probe carry one name; every service of the runtime is deployed."""
    services, runtimes = of_kind(overlay, "InferenceService"), of_kind(overlay, "ServingRuntime")
    stable = {name for name in services if service_of(name) == name}
    for title, names in (("InferenceServices", stable), ("ServingRuntimes", set(runtimes))):
        if names != set(LOADERS):
            yield f"{title} are {sorted(names)}; the packages are {sorted(LOADERS)}"
    graphs = of_kind(overlay, "InferenceGraph").values()
    if len(graphs) != 1:
        yield f"there are {len(graphs)} InferenceGraphs; there must be one"
    for graph in graphs:
        for node in (graph.at("spec", "nodes") or {}).values():
            for step in node.get("steps") or []:
                name = step.get("serviceName")
                if name is not None and name not in services:
                    yield f"{graph.title}: the step {step.get('name')!r} calls {name!r}, which is no service here"
                if name is not None and step.get("name") != name:
                    yield f"{graph.title}: the step {step.get('name')!r} calls {name!r}; give it its service's name"
                url = step.get("serviceUrl")
                if url is not None and url not in [canary_url(each) for each in services.values()]:
                    yield f"{graph.title}: the step {step.get('name')!r} calls {url}, which is no service's canary here"
    for service in services.values():
        if (runtime := service.at("spec", "predictor", "model", "runtime")) != service_of(service.name):
            yield f"{service.title} runs on {runtime!r}, not on the runtime of its own name"
    for runtime in runtimes.values():
        container = runtime.at("spec", "containers", 0) or {}
        if container.get("command") != ["python", "-m", f"services.{runtime.name}"]:
            yield f"{runtime.title} starts {container.get('command')}, not python -m services.{runtime.name}"
        probe = runtime.at("spec", "containers", 0, "readinessProbe", "httpGet", "path")
        if probe != f"/v2/models/{runtime.name}/ready":
            yield f"{runtime.title} is probed at {probe!r}: only /v2/models/{runtime.name}/ready knows of its model"
        if "livenessProbe" not in container:
            yield f"{runtime.title} has no livenessProbe"


def canary_of(service: str) -> str:
    """The InferenceService that runs a service's new version beside it, where the graph shares the traffic."""
    return service + _CANARY


def service_of(name: str) -> str:
    """The service an InferenceService is, or is a canary of."""
    return name.removesuffix(_CANARY)


def canary_url(service: Manifest) -> str:
    """Where the canary of a service answers inside the cluster, in Standard mode."""
    host = f"{canary_of(service.name)}-predictor.{service.at('metadata', 'namespace')}.svc.cluster.local"
    return f"http://{host}/v1/models/{service.name}:predict"


def pin_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """Every model is named by its digest, at an address whose content cannot change."""
    for service in of_kind(overlay, "InferenceService").values():
        tasks = TASKS.get(service_of(service.name), ())
        pins = read_pins(service)
        if set(pins) - _OPTIONAL.get(service_of(service.name), frozenset()) != set(tasks):
            yield f"{service.title}: {PINS} names {sorted(pins)}; its tasks are {sorted(tasks)}"
        storages = {
            str(storage.get("mountPath")): str(storage.get("uri"))
            for storage in service.at("spec", "predictor", "storageUris") or []
        }
        if set(storages) != {f"/mnt/models/{task}" for task in pins}:
            yield f"{service.title}: storageUris are mounted at {sorted(storages)}, not at /mnt/models/TASK"
        for task, digest in pins.items():
            if not _SHA256.fullmatch(digest):
                yield f"{service.title}: {PINS} has {digest!r} for {task}, which is no sha256"
            uri = storages.get(f"/mnt/models/{task}", "")
            if uri and digest not in uri and not _WRITTEN_ONCE.search(uri + "/"):
                yield f"{service.title}: {uri} may change: it holds neither the digest nor an id that is written once"
        if tasks and "whodid/model" not in service.annotations():
            yield f"{service.title}: the annotation whodid/model does not say which version this is"


def read_pins(service: Manifest) -> dict[str, str]:
    """Digest by task, as the service's environment has them."""
    for variable in service.at("spec", "predictor", "model", "env") or []:
        if variable.get("name") == PINS:
            pairs = [pin.partition("=") for pin in str(variable.get("value")).split(",")]
            return {task: digest for task, _, digest in pairs}
    return {}


def image_faults(overlay: Sequence[Manifest], images: Path) -> Iterator[str]:
    """Digests, not tags; and what is ours can be built from a folder of `images`."""
    for manifest in overlay:
        for container in manifest.containers():
            image = str(container.get("image"))
            found = _IMAGE.fullmatch(image)
            if found is None:
                yield f"{manifest.title}: image {image!r} is not pinned by a digest"
                continue
            owner, _, name = str(found["repository"]).rpartition("/")
            ours = owner.endswith("/whodid") or name.startswith("whodid-")
            if ours and not (images / name.removeprefix("whodid-") / "Dockerfile").is_file():
                yield f"{manifest.title}: image {image!r} has no Dockerfile in {images}"


def unbuilt_images(overlay: Sequence[Manifest]) -> set[str]:
    """Images whose digest is all zeros: no cluster can pull them before they are built and pinned."""
    return {
        str(container.get("image"))
        for manifest in overlay
        for container in manifest.containers()
        if str(container.get("image")).endswith(UNBUILT)
    }


def secret_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """Nothing that opens a door stands in a manifest."""
    for manifest in overlay:
        for where, value in _strings(manifest.body, manifest.kind):
            if _SECRET_VALUE.search(value):
                yield f"{manifest.title}: {where} holds a credential"
        for container in manifest.containers():
            yield from _environment_faults(manifest, container)
        yield from _environment_faults(manifest, manifest.at("spec", "predictor", "model") or {})


def _environment_faults(manifest: Manifest, container: dict[str, Any]) -> Iterator[str]:
    for variable in container.get("env") or []:
        if _SECRET_NAME.search(str(variable.get("name"))) and variable.get("value"):
            yield f"{manifest.title}: {variable['name']} has its value in clear; take it with secretKeyRef"


def _strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{where}[{index}]")
    elif isinstance(value, str):
        yield where, value
