"""A KServe v1alpha1 InferenceGraph, read from its manifest and refused if it cannot run.

Whatever the InferenceGraph webhook refuses is refused here, and so is what no webhook checks but the router falls
over: cycles, missing nodes, a Sequence without steps, a field it does not know.
"""

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from services.contracts.errors import BadUsage

ROOT = "root"

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# Where the router's pod runs and how it scales: the cluster's affair, without meaning on one machine.
_PLACEMENT = frozenset(
    {
        "affinity",
        "maxReplicas",
        "minReplicas",
        "nodeName",
        "nodeSelector",
        "resources",
        "scaleMetric",
        "scaleTarget",
        "serviceAccountName",
        "timeout",
        "tolerations",
    }
)


class GraphInvalid(BadUsage):
    """The graph cannot run as written; the message names the node, the step and the fault."""


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: Any) -> Any:
        # To Go a null is a field left out.
        if isinstance(fields, dict):
            return {name: value for name, value in fields.items() if value is not None}
        return fields


class Step(_Wire):
    """One call of a service, or of another node."""

    name: str = ""
    node_name: str = ""
    service_name: str = ""
    service_url: str = ""
    data: str = ""
    condition: str = ""
    dependency: Literal["Soft", "Hard"] = "Soft"
    weight: int | None = None
    map_predictions_to_instances: bool = False

    @property
    def service(self) -> str:
        """The service by name or by URL; empty when the step is a node."""
        return self.service_name or self.service_url


class Node(_Wire):
    """Steps, and how they are routed."""

    router_type: Literal["Sequence", "Splitter", "Ensemble", "Switch"]
    steps: tuple[Step, ...] = Field(default=(), strict=False)  # strict knows no tuples, only lists


class RouterTimeouts(_Wire):
    """Timeouts of the router, seconds; zero or less means none."""

    server_read: int = 60
    server_write: int = 60
    server_idle: int = 180
    service_client: int = 0


class Graph(_Wire):
    """A graph that passed every check: all nodes exist, none leads back to itself."""

    nodes: Mapping[str, Node]
    router_timeouts: RouterTimeouts = RouterTimeouts()

    def services(self) -> frozenset[str]:
        """Every service the graph may call, by name or URL."""
        return frozenset(step.service for node in self.nodes.values() for step in node.steps if step.service)


def load_graph(path: Path) -> Graph:
    """Read a graph from a file, see `parse_graph`.

    Raises:
        GraphInvalid: The file cannot be read, or the graph cannot run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise GraphInvalid(f"cannot read the graph file {path}: {fault}") from fault
    return parse_graph(text)


def parse_graph(text: str) -> Graph:
    """Read a graph from YAML or JSON: an `InferenceGraph` manifest (other documents beside it), or its bare spec.

    Raises:
        GraphInvalid: Not YAML, not one InferenceGraph, or a graph that cannot run.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (yaml.YAMLError, RecursionError) as fault:
        raise GraphInvalid(f"the graph is not readable YAML or JSON: {' '.join(str(fault).split())}") from fault
    specs = [document for document in documents if _holds_graph(document)]
    if len(specs) != 1:
        raise GraphInvalid(f"expected one InferenceGraph or one spec with nodes, found {len(specs)}")
    manifest = specs[0]
    if "kind" not in manifest:
        return _check(_validate(manifest))
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise GraphInvalid(f"metadata.name {name!r} must match ^{_NAME.pattern}$")
    return _check(_validate(manifest.get("spec")))


def _holds_graph(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    return document["kind"] == "InferenceGraph" if "kind" in document else True


def _validate(spec: Any) -> Graph:
    if not isinstance(spec, dict):
        raise GraphInvalid("the InferenceGraph has no spec")
    routed = {key: value for key, value in spec.items() if key not in _PLACEMENT}
    try:
        return Graph.model_validate(routed)
    except ValidationError as invalid:
        fault = invalid.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise GraphInvalid(f"spec.{where}: {fault['msg']}, got {fault['input']!r}"[:400]) from invalid


def _check(graph: Graph) -> Graph:
    for fault in _faults(graph):
        raise GraphInvalid(fault)
    return graph


def _faults(graph: Graph) -> Iterator[str]:
    if ROOT not in graph.nodes:
        yield f"node {ROOT!r} is missing; it is where the graph begins"
    for name, node in graph.nodes.items():
        yield from _node_faults(name, node, graph.nodes)
    calls = {name: {step.node_name for step in node.steps if step.node_name} for name, node in graph.nodes.items()}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as fault:
        # Listed from the called to the caller.
        yield f"nodes lead in a cycle: {' -> '.join(reversed(fault.args[1]))}"


def _node_faults(name: str, node: Node, nodes: Mapping[str, Node]) -> Iterator[str]:
    names = [step.name for step in node.steps if step.name]
    for step_name in names:
        if names.count(step_name) > 1:
            yield f"node {name!r} has several steps named {step_name!r}; the name of a step is unique in its node"
    for position, step in enumerate(node.steps):
        where = f"step {step.name or position!r} of node {name!r}"
        targets = [target for target in (step.node_name, step.service_name, step.service_url) if target]
        if len(targets) != 1:
            yield f"{where} must name exactly one of nodeName, serviceName, serviceUrl; it names {targets or 'none'}"
        if step.node_name and step.node_name not in nodes:
            yield f"{where} names the node {step.node_name!r}, which the graph does not have"
        if step.service_url and not step.service_url.startswith(("http://", "https://")):
            yield f"{where} has the serviceUrl {step.service_url!r}; it must start with http:// or https://"
    if node.router_type == "Sequence" and not node.steps:
        yield f"node {name!r} is a Sequence without steps; give it one"
    if node.router_type == "Splitter":
        weights = [step.weight for step in node.steps]
        if None in weights:
            yield f"node {name!r} is a Splitter and needs a weight on every step"
        elif any(weight < 0 for weight in weights if weight is not None):
            yield f"node {name!r} is a Splitter with a negative weight; weights are percentages"
        elif sum(weight for weight in weights if weight is not None) != 100:
            yield f"node {name!r} is a Splitter whose weights {weights} do not sum to 100"
