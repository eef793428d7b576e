"""Safety: what a pod may do, whom it may speak to, and that it can be moved without an outage."""

from collections.abc import Iterator, Sequence
from typing import Any

from training.manifests.manifest import Manifest, of_kind
from training.manifests.webhooks import mode_of

ROUTER = {"serving.kserve.io/inferencegraph": "whodid"}
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
SERVICE_PORT, KNATIVE_PORT = 8080, 8012
GPU = "nvidia.com/gpu"
# Knative's gateway and activator stand between router and service; their own policies say who may use them.
_KNATIVE_NAMESPACES = ("knative-serving", "istio-system")


def privilege_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """No pod runs as root, writes to its image, gains privileges, or holds a token for the cluster's API."""
    accounts = of_kind(overlay, "ServiceAccount")
    for manifest in overlay:
        if manifest.kind == "ServiceAccount" and manifest.body.get("automountServiceAccountToken") is not False:
            yield f"{manifest.title}: automountServiceAccountToken must be false"
        if (pod := manifest.pod()) is not None:
            if pod.get("automountServiceAccountToken") is not False:
                yield f"{manifest.title}: automountServiceAccountToken must be false"
            if pod.get("serviceAccountName") not in accounts:
                yield f"{manifest.title}: its service account {pod.get('serviceAccountName')!r} is not here"
        shared = (pod or {}).get("securityContext") or {}
        for container in manifest.containers():
            for fault in _context_faults({**shared, **(container.get("securityContext") or {})}):
                yield f"{manifest.title}: container {container.get('name')!r} {fault}"


def _context_faults(context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True:
        yield "may run as root: set runAsNonRoot"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image: set readOnlyRootFilesystem"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges: set allowPrivilegeEscalation to false"
    if context.get("privileged"):
        yield "is privileged"
    if (context.get("capabilities") or {}).get("drop") != ["ALL"] or (context.get("capabilities") or {}).get("add"):
        yield "keeps capabilities: drop ALL, add none"
    if (context.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "runs without the seccomp profile RuntimeDefault"


def network_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """Everything is denied but the router to the services, the services to the store, identity to the gallery."""
    policies = list(of_kind(overlay, "NetworkPolicy").values())
    if not any(_denies_all(policy) for policy in policies):
        yield "no NetworkPolicy denies everything by default"
    services = of_kind(overlay, "InferenceService")
    for name, service in services.items():
        ours = [policy for policy in policies if _selects(policy.at("spec", "podSelector"), {SERVICE_LABEL: name})]
        knative = mode_of(service) == "Knative"
        called = False
        for policy in ours:
            for rule in policy.at("spec", "ingress") or []:
                ports = [port.get("port") for port in rule.get("ports") or []]
                if ports and SERVICE_PORT not in ports:
                    continue
                if peers := [peer for peer in rule.get("from") or [{}] if peer != _only(ROUTER)]:
                    yield f"{policy.title} lets {peers} call {name}; only the router may"
                called = called or _only(ROUTER) in (rule.get("from") or [])
        if not called:
            yield f"no NetworkPolicy lets the router call {name}"
        if knative and not any(_admits_knative(policy) for policy in policies):
            yield f"{name} runs on Knative, and no NetworkPolicy lets Knative's gateway and activator reach it"
    events = [policy for policy in policies if _selects(policy.at("spec", "podSelector"), {SERVICE_LABEL: "events"})]
    for policy in events:
        for rule in policy.at("spec", "egress") or []:
            if {port.get("port") for port in rule.get("ports") or []} != {53}:
                yield f"{policy.title} lets events reach {rule.get('to')}; it reads no store and no database"


def _only(labels: dict[str, str]) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def _denies_all(policy: Manifest) -> bool:
    spec = policy.at("spec")
    sides = set(spec.get("policyTypes") or [])
    return spec.get("podSelector") == {} and sides == {"Ingress", "Egress"} and not {"ingress", "egress"} & set(spec)


def _admits_knative(policy: Manifest) -> bool:
    peers = [
        (peer.get("namespaceSelector") or {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
        for rule in policy.at("spec", "ingress") or []
        if KNATIVE_PORT in [port.get("port") for port in rule.get("ports") or []]
        for peer in rule.get("from") or []
    ]
    return set(peers) == set(_KNATIVE_NAMESPACES)


def _selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """Whether a pod with these labels, and perhaps others, of KServe's own making, is meant."""
    selector = selector or {}
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        if rule.get("operator") == "In" and labels.get(rule.get("key")) not in (rule.get("values") or []):
            return False
        if rule.get("operator") == "Exists" and rule.get("key") not in labels:
            return False
    return True


def running_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """Resources are stated, disruptions bounded, the router waits long enough, and GPUs are asked for consistently."""
    services, graphs = of_kind(overlay, "InferenceService"), of_kind(overlay, "InferenceGraph")
    budgets = of_kind(overlay, "PodDisruptionBudget").values()
    wanted = [{SERVICE_LABEL: name} for name in services] + [ROUTER for _ in graphs]
    for labels in wanted:
        if not any(budget.at("spec", "selector", "matchLabels") == labels for budget in budgets):
            yield f"no PodDisruptionBudget covers {labels}"
    for budget in budgets:
        if budget.at("spec", "maxUnavailable") in (0, "0%", None):
            yield f"{budget.title}: without maxUnavailable above 0 a node with a single replica can never be drained"
    for service in services.values():
        yield from _resource_faults(service, overlay)
        for graph in graphs.values():
            patience = graph.at("spec", "routerTimeouts") or {}
            for side in ("serverWrite", "serviceClient"):
                # A missing value is the router's own: 60 s for serverWrite, none for serviceClient.
                seconds = patience.get(side, 60 if side == "serverWrite" else 0)
                if 0 < seconds < (service.at("spec", "predictor", "timeout") or 0):
                    yield f"{graph.title}: {side} of {seconds} s is shorter than {service.name} may take"


def _resource_faults(service: Manifest, overlay: Sequence[Manifest]) -> Iterator[str]:
    resources = service.at("spec", "predictor", "model", "resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    if not {"cpu", "memory"} <= set(requests) or "memory" not in limits:
        yield f"{service.title}: resources must request cpu and memory, and limit memory"
    runtime = of_kind(overlay, "ServingRuntime").get(str(service.at("spec", "predictor", "model", "runtime")))
    container = (runtime.at("spec", "containers", 0) if runtime else None) or {}
    device = {item.get("name"): item.get("value") for item in container.get("env") or []}.get("WHODID_DEVICE", "cpu")
    repository = str(container.get("image")).partition("@")[0]
    wants = {
        "a nvidia.com/gpu limit": GPU in limits,
        "a node selector": bool(service.at("spec", "predictor", "nodeSelector")),
        "a toleration": any(t.get("key") == GPU for t in service.at("spec", "predictor", "tolerations") or []),
        "the GPU image": repository.endswith("serving-gpu"),
        "WHODID_DEVICE": device in ("cuda", "tensorrt"),
    }
    if len(set(wants.values())) > 1:
        missing = [name for name, given in wants.items() if not given]
        yield f"{service.title} is half on a GPU: it lacks {', '.join(missing)}"


def audit_faults(overlay: Sequence[Manifest]) -> Iterator[str]:
    """What `identity` writes down about look-ups outlives its pods, and every pod of it can write there."""
    runtime = of_kind(overlay, "ServingRuntime").get("identity")
    service = of_kind(overlay, "InferenceService").get("identity")
    if runtime is None or service is None:
        return
    container = runtime.at("spec", "containers", 0) or {}
    path = {item.get("name"): item.get("value") for item in container.get("env") or []}.get("WHODID_AUDIT") or ""
    mounts = [m for m in container.get("volumeMounts") or [] if path.startswith(f"{m.get('mountPath')}/")]
    claims = {
        volume.get("name"): (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in runtime.at("spec", "volumes") or []
    }
    claim = of_kind(overlay, "PersistentVolumeClaim").get(str(claims.get(mounts[0].get("name"))) if mounts else "")
    if claim is None:
        yield f"{runtime.title}: WHODID_AUDIT is {path!r}, on no PersistentVolumeClaim here: it goes with the pod"
        return
    most = service.at("spec", "predictor", "maxReplicas")
    if most != 1 and "ReadWriteMany" not in (claim.at("spec", "accessModes") or []):
        yield f"{claim.title} is not ReadWriteMany, and identity may run {most} pods, which all write to it"
