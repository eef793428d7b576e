import io
import json
import uuid

from rich.console import Console

from training.lineage.cyclonedx import to_cyclonedx
from training.lineage.node import BrokenLink, Node, Proof, prove_all, to_json
from training.lineage.openlineage import to_openlineage
from training.lineage.texts import to_markdown, to_tree


def test_a_bill_of_materials_has_every_model_with_its_digest_card_and_data(machine):
    bom = to_cyclonedx(machine.tracer().trace(machine.event_id))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    models = {each["name"]: each for each in bom["components"] if each["type"] == "machine-learning-model"}
    assert set(models) == {"persons", "faces", "actions"}
    assert models["actions"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert models["actions"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "window_accuracy", "value": "0.8"}
    ]
    references = {each["bom-ref"] for each in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    assert len(references) == len(bom["components"]) + 1
    for each in bom["dependencies"]:
        assert {each["ref"], *each["dependsOn"]} <= references
    depends = {each["ref"]: each["dependsOn"] for each in bom["dependencies"]}
    assert f"data:{machine.data_md5}" in depends["model:actions@1"]
    assert bom == to_cyclonedx(machine.tracer().trace(machine.event_id))


def test_openlineage_tells_training_and_analysis(machine):
    events = to_openlineage(machine.tracer().trace(machine.event_id))
    assert [event["job"]["name"] for event in events] == ["training", "analysis"]
    for event in events:
        assert uuid.UUID(event["run"]["runId"])
        assert event["eventType"] == "COMPLETE"
    assert f"data/{machine.data_md5}" in {each["name"] for each in events[0]["inputs"]}
    assert events[1]["outputs"][0]["name"] == f"event/{machine.event_id}"


def test_the_model_card_names_metrics_data_and_commit(machine):
    text = to_markdown(machine.tracer().trace("actions"))
    assert text.startswith("# actions@1\n")
    assert all(word in text for word in ("| licence | MIT |", "window_accuracy", machine.data_md5, "pin data"))


def test_the_tree_ticks_what_is_proved_and_says_what_is_broken():
    def broken() -> None:
        raise BrokenLink("clip c: changed [sic]")

    root = Node("event", "e", {}, (Node("clip", "c", prove=broken), Node("run", "r", prove=lambda: None)))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_tree(root, prove_all(root)))
    shown = console.export_text()
    assert "✗ clip c: changed [sic]" in shown
    assert "✓ run r" in shown


def test_a_node_met_twice_is_proved_once():
    calls = []
    node = Node("data", "d", prove=lambda: calls.append(1))
    assert prove_all(Node("event", "e", {}, (node, node))) == [Proof(node, None)]
    assert calls == [1]


def test_json_is_plain(machine):
    document = to_json(machine.tracer().trace(machine.event_id))
    assert json.loads(json.dumps(document)) == document
