import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from services.graph.spec import GraphInvalid, load_graph, parse_graph

STEP = {"name": "a", "serviceUrl": "http://a/"}


def spec(**nodes: Any) -> str:
    return json.dumps({"nodes": nodes})


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": "Sequence", "steps": list(steps)}


def splitter(*weights: int | None) -> dict[str, Any]:
    steps = [{**STEP, "name": str(position), "weight": weight} for position, weight in enumerate(weights)]
    return {"routerType": "Splitter", "steps": steps}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (spec(x=sequence(STEP)), "node 'root' is missing"),
        (spec(root=sequence()), "Sequence without steps"),
        (spec(root=sequence(STEP, STEP)), "several steps named 'a'"),
        (spec(root=sequence({"name": "a"})), "exactly one of nodeName, serviceName, serviceUrl; it names none"),
        (spec(root=sequence({**STEP, "serviceName": "b"})), "exactly one of"),
        (spec(root=sequence({"nodeName": "ghost"})), "names the node 'ghost'"),
        (spec(root=sequence({"serviceUrl": "a:80"})), "must start with http://"),
        (spec(root={"routerType": "Foo"}), "spec.nodes.root.routerType"),
        (spec(root={"steps": [STEP]}), "spec.nodes.root.routerType"),
        (spec(root=sequence({**STEP, "conditon": "x"})), "spec.nodes.root.steps.0.conditon"),
        (spec(root=sequence({**STEP, "dependency": "hard"})), "'Soft' or 'Hard'"),
        (spec(root=splitter(50, 49)), "[50, 49] do not sum to 100"),
        (spec(root=splitter(100, None)), "needs a weight"),
        (spec(root=splitter(101, -1)), "negative weight"),
        (spec(root=splitter()), "do not sum to 100"),
        (spec(root=sequence(STEP), x=sequence({"nodeName": "x"})), "cycle: x -> x"),
        ("", "found 0"),
        ("[1]", "found 0"),
        ("{", "not readable YAML or JSON"),
        ("[" * 100_000, "not readable YAML or JSON"),
        ("kind: Deployment", "found 0"),
        ("kind: InferenceGraph\nmetadata: {name: Whodid}", "metadata.name 'Whodid' must match"),
        ("kind: InferenceGraph\nmetadata: whodid", "metadata.name None must match"),
        ("kind: InferenceGraph\nmetadata: {name: whodid}", "no spec"),
        ("nodes: {1: {}}", "spec.nodes.1"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_by_its_fault(text: str, fault: str) -> None:
    with pytest.raises(GraphInvalid) as refused:
        parse_graph(text)
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_cycle_is_named_in_the_order_of_the_calls() -> None:
    calls = {"root": "one", "one": "two", "two": "three", "three": "one"}
    with pytest.raises(GraphInvalid) as refused:
        parse_graph(spec(**{name: sequence({"nodeName": called}) for name, called in calls.items()}))
    path = str(refused.value).removeprefix("nodes lead in a cycle: ").split(" -> ")
    assert path[0] == path[-1]
    assert all(calls[caller] == called for caller, called in itertools.pairwise(path))


def test_a_node_may_be_reached_by_many_ways() -> None:
    layers = {f"n{depth}": sequence(*[{"nodeName": f"n{depth + 1}"}] * 3) for depth in range(40)}
    graph = parse_graph(spec(root=sequence({"nodeName": "n0"}), n40=sequence(STEP), **layers))
    assert graph.services() == {"http://a/"}


def test_nulls_and_placement_count_as_left_out() -> None:
    node = {"routerType": "Sequence", "steps": [{**STEP, "condition": None, "weight": None}]}
    text = json.dumps({"nodes": {"root": node}, "routerTimeouts": None, "resources": {}, "minReplicas": 1})
    graph = parse_graph(text)
    assert graph == parse_graph(spec(root=sequence(STEP)))
    assert graph.router_timeouts.server_write == 60


def test_the_one_inference_graph_among_other_documents_is_read(tmp_path: Path) -> None:
    manifest = tmp_path / "graph.yaml"
    text = "kind: Service\n---\nkind: InferenceGraph\nmetadata: {name: whodid}\nspec: " + spec(root=sequence(STEP))
    manifest.write_text(text)
    assert load_graph(manifest) == parse_graph(spec(root=sequence(STEP)))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphInvalid, match=r"no\.yaml"):
        load_graph(tmp_path / "no.yaml")


def test_the_graph_of_this_project_can_run(repository: Path) -> None:
    assert load_graph(repository / "infra/base/graph.yaml").services() == {"tracks", "identity", "action", "events"}
