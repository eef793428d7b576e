import json
from dataclasses import replace

import pytest

from services.contracts.card import ModelCard
from services.contracts.errors import BadInput, Refused
from services.gallery.store import Gallery
from services.models.store import StoredModel
from tests.unit.promotion.models import make_model
from training.config import read_config
from training.promotion.comparison import Report, Tally
from training.promotion.gates import Proposal, check_embedding_space, run_gates

PEOPLE = [f"person {i}" for i in range(8)]


def report(rights: list[int]) -> Report:
    tally = Tally({name: (float(right), 20.0) for name, right in zip(PEOPLE, rights, strict=True)})
    return Report(
        {"window accuracy": tally, "events F1": tally},
        {f"of {name}": Tally({name: counts}) for name, counts in tally.groups.items()},
        "a test",
    )


@pytest.fixture
def params(repository):
    promote = read_config(repository / "params.yaml").promote
    return promote.model_copy(update={"latency_ms": dict.fromkeys(promote.latency_ms, 5000.0)})


@pytest.fixture
def proposal(tmp_path, params):
    candidate, champion = make_model(tmp_path / "new"), make_model(tmp_path / "old", bias=1.0)
    reports = {candidate.card.weights.sha256: report([15] * 8), champion.card.weights.sha256: report([10] * 8)}
    sha256 = candidate.card.weights.sha256
    return Proposal(
        candidate=candidate,
        registry_tags={"sha256": sha256},
        uri=f"s3://models/net/{sha256}/",
        champion=champion,
        protocol=lambda: lambda model: reports[model.card.weights.sha256],
        stage=params.stages["production"],
        gallery=str(tmp_path / "gallery.db"),
        reembedding_plan=None,
        device="cpu",
    )


def failed(proposal, params) -> list[str]:
    return [gate.name for gate in run_gates(proposal, params) if not gate.passed]


def answer(proposal, rights):
    """The same proposal with another candidate's answers."""
    sha256 = proposal.candidate.card.weights.sha256
    return replace(
        proposal,
        protocol=lambda: lambda m: report(rights) if m.card.weights.sha256 == sha256 else report([10] * 8),
    )


def change_card(proposal, **changes):
    card = proposal.candidate.card.model_copy(update=changes)
    return replace(proposal, candidate=StoredModel(card, proposal.candidate.weights_path))


def test_a_better_candidate_in_order_passes_every_gate(proposal, params):
    gates = list(run_gates(proposal, params))
    assert [gate.name for gate in gates if not gate.passed] == []
    assert {gate.name for gate in gates} == {
        "digest", "licence", "lineage", "uri", "calibration", "embedding space", "size", "latency", "window accuracy",
        "events F1", "subgroups",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rights", "gates"),
    [
        ([10] * 8, ["window accuracy"]),
        ([14, 6] * 4, ["window accuracy", "events F1", "subgroups"]),
        ([5] * 8, ["window accuracy", "events F1", "subgroups"]),
        ([16] * 7 + [5], ["subgroups"]),
    ],
    ids=["no better", "better here, worse there", "worse", "one person pays"],
)
def test_what_is_not_better_beyond_doubt_is_refused(proposal, params, rights, gates):
    assert failed(answer(proposal, rights), params) == gates


def test_small_subgroups_are_not_judged(proposal, params):
    large = params.model_copy(update={"subgroup_minimum": 21})
    assert failed(answer(proposal, [16] * 7 + [5]), large) == []


def test_the_champion_s_own_weights_are_no_candidate(proposal, params):
    assert failed(replace(proposal, champion=proposal.candidate), params) == ["metrics"]


def test_without_a_champion_there_is_nothing_to_beat(proposal, params):
    assert failed(replace(proposal, champion=None), params) == []


def test_a_task_without_a_protocol_does_not_pass(proposal, params):
    def none():
        raise Refused("no protocol")

    assert failed(replace(proposal, protocol=none), params) == ["metrics"]


def test_other_bytes_than_the_registered_ones_are_neither_run_nor_measured(proposal, params):
    proposal.candidate.weights_path.write_bytes(b"other bytes")
    gates = {gate.name: gate for gate in run_gates(proposal, params)}
    assert not gates["digest"].passed
    assert "latency" not in gates
    assert not gates["metrics"].passed


def test_a_digest_the_registry_does_not_know_is_refused(proposal, params):
    assert "digest" in failed(replace(proposal, registry_tags={"sha256": "0" * 64}), params)
    assert "digest" in failed(replace(proposal, registry_tags={}), params)


def test_licence_lineage_uri_and_size_are_the_stage_s(proposal, params):
    lineage = proposal.candidate.card.lineage
    weights = proposal.candidate.card.weights
    assert failed(change_card(proposal, licence="CC-BY-NC-4.0"), params) == ["licence"]
    dirty = change_card(proposal, lineage=lineage.model_copy(update={"git_commit": "a" * 40 + "-dirty"}))
    assert failed(dirty, params) == ["lineage"]
    assert failed(change_card(proposal, weights=weights.model_copy(update={"size_bytes": 10**9})), params) == ["size"]
    assert failed(replace(proposal, uri=f"file:///models/{weights.sha256}/"), params) == ["uri"]
    assert failed(replace(proposal, uri="s3://models/net/latest/"), params) == ["uri"]
    local = params.stages["local"]
    assert failed(replace(dirty, stage=local, uri="file:///models/net"), params) == []


def test_too_slow_is_too_slow(proposal, params):
    strict = params.model_copy(update={"latency_ms": {"action": 0.0}})
    assert failed(proposal, strict) == ["latency"]


CHIP = {"size_px": 8, "template": [[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.4, 0.7], [0.6, 0.7]], "channels": "RGB",
        "mean": [0, 0, 0], "scale": 1}  # fmt: skip


@pytest.fixture
def face_proposal(proposal, monkeypatch):
    card = proposal.candidate.card.model_dump()
    face = card | {"task": "face_embedding", "chip": CHIP, "embedding": {"space": "new-space", "dimension": 4}}
    candidate = StoredModel(ModelCard.model_validate(face), proposal.candidate.weights_path)

    def snapshot(self, space):
        raise BadInput(f"the gallery holds 'old-space', the model gives {space!r}")

    monkeypatch.setattr(Gallery, "snapshot", snapshot)
    return replace(proposal, candidate=candidate)


def test_another_embedding_space_needs_a_plan_that_leads_there(face_proposal, tmp_path):
    plan = tmp_path / "plan.json"
    assert not check_embedding_space(face_proposal).passed
    plan.write_text(json.dumps({"from": "old-space", "to": "elsewhere", "steps": ["whodid gallery migrate"]}))
    assert not check_embedding_space(replace(face_proposal, reembedding_plan=plan)).passed
    plan.write_text(json.dumps({"from": "old-space", "to": "new-space", "steps": ["whodid gallery migrate"]}))
    assert check_embedding_space(replace(face_proposal, reembedding_plan=plan)).passed


def test_a_face_network_without_a_threshold_is_refused(face_proposal, params):
    assert "calibration" in failed(face_proposal, params)
