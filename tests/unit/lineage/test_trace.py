import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.archive.store import Archive
from services.contracts.errors import BadInput
from tests.unit.lineage.conftest import git
from training.lineage.checkout import Checkout
from training.lineage.node import BrokenLink, prove_all
from training.lineage.proofs import describe_graph
from training.lineage.trace import Tracer


def find(root, kind):
    return [node for node in root.walk() if node.kind == kind]


def faults(machine) -> list[str]:
    """What `--verify` says of the event; what cannot even be opened is told when it is looked up."""
    try:
        proofs = prove_all(machine.tracer().trace(machine.event_id))
    except BadInput as fault:
        return [str(fault)]
    return [proof.fault for proof in proofs if proof.fault]


def test_from_an_event_back_to_pixels_models_commit_data_people_and_whoever_promoted(machine):
    root = machine.tracer().trace(machine.event_id)
    assert (root.kind, root.facts["who"], root.facts["did"]) == ("event", "ada", "walk")
    assert {node.name for node in find(root, "model")} == {"persons@1", "faces@1", "actions@1"}
    assert {node.name for node in find(root, "data")} == {machine.data_md5}
    assert find(root, "data")[0].facts["subjects"] == "ada, bob"
    assert find(root, "commit")[0].facts["subject"] == "pin data"
    assert find(root, "promotion")[0].facts["who"] == "ada"
    assert find(root, "gallery")[0].facts["subjects"] == "1"
    assert len(find(root, "clip")) == len(find(root, "evidence")) == 1


def test_everything_is_proved_when_nothing_was_touched(machine):
    proofs = prove_all(machine.tracer().trace(machine.event_id))
    assert [proof.fault for proof in proofs] == [None] * len(proofs)
    assert {proof.node.kind for proof in proofs} == {
        "event", "clip", "evidence", "graph", "model", "card", "promotion log", "commit", "data",
    }  # fmt: skip


def test_the_beginning_of_an_event_id_is_enough(machine):
    assert machine.tracer().trace(machine.event_id[:12]).name == machine.event_id


NAMED = {"promotion log's end": "promotions.jsonl", "promotion log": "promotions.jsonl"}


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_changed_byte_of_any_artefact_is_named(machine, data):
    artefact = data.draw(st.sampled_from(sorted(machine.artefacts)))
    path = machine.artefacts[artefact]
    content = path.read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        told = faults(machine)
    finally:
        path.write_bytes(content)
    assert told
    wanted = NAMED.get(artefact, path.name)
    assert any(wanted in fault or path.parent.name in fault for fault in told), told


@pytest.mark.parametrize("artefact", ["clip", "evidence", "weights of actions", "signature of actions"])
def test_an_artefact_that_is_gone_is_named(machine, artefact, tmp_path):
    path = machine.artefacts[artefact]
    moved = shutil.move(path, tmp_path / "moved")
    try:
        told = faults(machine)
    finally:
        shutil.move(moved, path)
    assert len(told) == 1
    assert path.name in told[0] or path.parent.name in told[0]


@pytest.mark.parametrize(
    "change",
    [
        "probability = 0.99",
        "subject_id = 'eve'",
        "start_seconds = 0.5",
        "action = 'fall'",
        "similarity = 0.99",
        "toward_track_id = 't2', toward_share = 1.0",
    ],
)
def test_a_changed_event_is_named(machine, tmp_path, change):
    copy = tmp_path / "archive.db"
    with sqlite3.connect(machine.settings.archive) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    with sqlite3.connect(copy) as archive:
        archive.execute(f"UPDATE events SET {change}")
    source.close()
    target.close()
    archive.close()
    changed = replace(machine, settings=replace(machine.settings, archive=str(copy)))
    assert [machine.event_id in fault for fault in faults(changed)] == [True]


def test_a_graph_that_was_replaced_is_proved_by_the_commit_that_has_it(machine, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(machine.root, checkout)
    kept = checkout / "infra/base/graph.yaml"
    kept.parent.mkdir(parents=True)
    for content in (machine.settings.graph.read_bytes(), b"another graph"):
        kept.write_bytes(content)
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "--message", "graph")
    elsewhere = replace(machine.settings, graph=kept)
    (graph,) = find(Tracer(elsewhere, Checkout(checkout)).trace(machine.event_id), "graph")
    assert graph.facts["commit"] == git(checkout, "rev-parse", "HEAD~1")
    graph.prove()
    (graph,) = find(Tracer(elsewhere, Checkout(machine.root)).trace(machine.event_id), "graph")
    with pytest.raises(BrokenLink, match="no commit here has the one that was run"):
        graph.prove()


def test_an_event_from_before_graphs_were_recorded_says_so(machine):
    assert describe_graph(None, machine.settings.graph, None).prove is None


def test_a_commit_that_is_gone_or_pins_other_data_is_named(machine, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=elsewhere, check=True)
    shutil.copytree(machine.root / ".data-remote", elsewhere / ".data-remote")
    (elsewhere / "data.dvc").touch()
    told = faults(replace(machine, root=elsewhere))
    assert len(told) == 1
    assert told[0].startswith("commit ")


def test_from_data_forward_to_models_and_events(machine):
    root = machine.tracer().trace(machine.data_md5)
    assert {node.name for node in root.parts} == {"persons@1", "faces@1", "actions@1"}
    assert all(part.facts["count"] != "0" for node in root.parts for part in node.parts)
    assert machine.event_id in {node.name for node in find(root, "event")}


def test_from_a_subject_forward_to_data_models_and_events(machine):
    ada, bob = (machine.tracer().trace(subject) for subject in ("ada", "bob"))
    assert find(ada, "data")[0].facts["files_with_subject"] == "enrol/ada/0.jpg, scenes/train/one.mp4"
    assert find(bob, "data")[0].facts["files_with_subject"] == "scenes/train/one.mp4"
    assert any(node.name == "that name ada" for node in find(ada, "events"))
    assert not any(node.name.startswith("that name") for node in find(bob, "events"))


def test_what_nobody_knows_is_bad_input(machine):
    with pytest.raises(BadInput, match="carol"):
        machine.tracer().trace("carol")


def test_looking_leaves_no_trace(machine, tmp_path):
    empty = replace(machine.settings, archive=str(tmp_path / "none.db"), models=Path(tmp_path / "none"))
    with pytest.raises(BadInput):
        replace(machine, settings=empty).tracer().trace("carol")
    assert list(tmp_path.iterdir()) == []
    assert Archive(empty.archive).find_analyses() == []
