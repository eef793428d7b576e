"""A lineage as a CycloneDX ML-BOM: models, data and code as components, each with its hashes.

Source: CycloneDX 1.6 JSON (ECMA-424), machine-learning-model and data components.
"""

import uuid
from typing import Any

from training.lineage.node import Node

_TASKS = {
    "person_detection": "object detection",
    "face_detection": "object detection",
    "face_embedding": "face embedding",
    "action": "action recognition",
}


def to_cyclonedx(root: Node) -> dict[str, Any]:
    """The bill of materials; the same lineage gives the same document."""
    components: dict[str, dict[str, Any]] = {}
    dependencies: dict[str, set[str]] = {}
    for node in root.walk():
        component = _component(node)
        if component is not None:
            components.setdefault(component["bom-ref"], component)
            dependencies.setdefault(component["bom-ref"], set()).update(_refs_below(node))
    subject = _component(root) or {"type": "data", "bom-ref": _ref(root), "name": f"{root.kind} {root.name}"}
    components.pop(subject["bom-ref"], None)
    dependencies.setdefault(subject["bom-ref"], set()).update(_refs_below(root))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, _ref(root))}",
        "version": 1,
        "metadata": {"component": subject},
        "components": list(components.values()),
        "dependencies": [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(dependencies.items())],
    }


def _component(node: Node) -> dict[str, Any] | None:
    match node.kind:
        case "model":
            name, _, version = node.name.partition("@")
            component: dict[str, Any] = {
                "type": "machine-learning-model",
                "bom-ref": _ref(node),
                "name": name,
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": node.facts["sha256"]}],
            }
            if "licence" in node.facts:
                component["licenses"] = [{"license": {"id": node.facts["licence"]}}]
                component["description"] = node.facts["description"]
                component["modelCard"] = _model_card(node)
            return component
        case "clip" | "evidence" | "event":
            hashes = [{"alg": "SHA-256", "content": node.name}]
            return {"type": "data", "bom-ref": _ref(node), "name": f"{node.kind} {node.name[:12]}", "hashes": hashes}
        case "data":
            hashes = [{"alg": "MD5", "content": node.name.removesuffix(".dir")}]
            described = [{"type": "dataset", "name": "data.dvc", "description": node.facts.get("subjects", "")}]
            return {"type": "data", "bom-ref": _ref(node), "name": "data", "hashes": hashes, "data": described}
        case "commit" if len(node.name) == 40:
            hashes = [{"alg": "SHA-1", "content": node.name}]
            return {
                "type": "application",
                "bom-ref": _ref(node),
                "name": "whodid",
                "version": node.name,
                "hashes": hashes,
            }
        case _:
            return None


def _model_card(node: Node) -> dict[str, Any]:
    metrics = [
        {"type": name, "value": value}
        for part in node.parts
        if part.kind == "card"
        for name, value in part.facts.items()
    ]
    datasets = [{"ref": _ref(below)} for below in node.walk() if below.kind == "data"]
    parameters: dict[str, Any] = {"task": _TASKS.get(node.facts["task"], node.facts["task"])}
    if datasets:
        parameters["datasets"] = datasets
    card: dict[str, Any] = {"modelParameters": parameters}
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _refs_below(node: Node) -> set[str]:
    """The nearest components under a node; what is none itself is passed through."""
    refs: set[str] = set()
    for part in node.parts:
        component = _component(part)
        refs |= {component["bom-ref"]} if component else _refs_below(part)
    return refs


def _ref(node: Node) -> str:
    return f"{node.kind}:{node.name}"
