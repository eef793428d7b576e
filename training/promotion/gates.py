"""Gates: what a model version must show before it may serve. Each says what it found and what it required."""

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import ModelCard
from services.contracts.errors import BadInput, Refused, WhodidError
from services.gallery.store import Gallery
from services.models.engine import load_network
from services.models.store import StoredModel
from services.perception.windows import MOTION_CHANNELS
from training.config import PromoteParams, StageParams
from training.promotion.comparison import Report, compare
from training.promotion.protocols import Protocol

CLUSTER_SCHEMES = ("s3", "gs", "https", "pvc", "hf", "oci")
_LATENCY_RUNS, _WARMUP_RUNS = 15, 3


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's answer.

    Attributes:
        name: What was asked.
        passed: Whether it may pass.
        found: What there was.
        required: What there had to be.
    """

    name: str
    passed: bool
    found: str
    required: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be promoted, and what the gates know of its surroundings.

    Attributes:
        candidate: Card and weights as the registry gave them.
        registry_tags: What the registry says of the version.
        uri: What a service would load.
        champion: What serves now; None before the first.
        protocol: How the two are compared; None where they are not, because live traffic will do it.
        stage: What the place allows.
        gallery: The live gallery, path or url.
        reembedding_plan: How the gallery moves to another embedding space.
        device: The engine here.
    """

    candidate: StoredModel
    registry_tags: Mapping[str, str]
    uri: str
    champion: StoredModel | None
    protocol: Callable[[], Protocol] | None
    stage: StageParams
    gallery: str
    reembedding_plan: Path | None
    device: str


def judge(
    proposal: Proposal, params: PromoteParams, *, on_gate: Callable[[Gate], None]
) -> tuple[list[Gate], list[str]]:
    """Run every gate.

    Args:
        proposal: What is to be promoted, or to take a share of the traffic.
        params: The limits.
        on_gate: Told each gate's answer as it comes: some take a minute.

    Returns:
        All answers, and the names of the gates that said no.
    """
    gates = []
    for gate in run_gates(proposal, params):
        on_gate(gate)
        gates.append(gate)
    return gates, [gate.name for gate in gates if not gate.passed]


def run_gates(proposal: Proposal, params: PromoteParams) -> Iterator[Gate]:
    """Every gate, cheap ones first. Where the bytes are not the registry's, nothing of them is run."""
    digest = check_digest(proposal)
    yield digest
    yield check_licence(proposal)
    yield check_lineage(proposal)
    yield check_uri(proposal)
    yield check_calibration(proposal.candidate.card)
    yield check_embedding_space(proposal)
    yield check_size(proposal.candidate.card, params)
    if not digest.passed:
        yield Gate("metrics", False, "not measured: the bytes are not the registered ones", "the registered bytes")
        return
    yield check_latency(proposal, params)
    if proposal.protocol is not None:
        yield from check_metrics(proposal, proposal.protocol, params)


def check_digest(proposal: Proposal) -> Gate:
    """The bytes are those the card and the registry name."""
    card, path = proposal.candidate
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    registered = proposal.registry_tags.get("sha256", "no sha256 tag")
    return Gate(
        "digest",
        found == card.weights.sha256 == registered,
        f"sha256 {found[:16]}",
        f"card {card.weights.sha256[:16]}, registry {registered[:16]}",
    )


def check_licence(proposal: Proposal) -> Gate:
    """The licence is one this deployment may use."""
    licence = proposal.candidate.card.licence
    return Gate("licence", licence in proposal.stage.licences, licence, " or ".join(proposal.stage.licences))


def check_lineage(proposal: Proposal) -> Gate:
    """The card says which run, commit and data made the weights, or which release they are from."""
    lineage = proposal.candidate.card.lineage
    if lineage.run_id is None:
        return Gate("lineage", bool(lineage.source), lineage.source, "a run, or a named release")
    commit, data = lineage.git_commit or "unknown", lineage.data_md5 or "unknown"
    dirty = "-dirty" if commit.endswith("-dirty") else ""
    clean = commit != "unknown" and not dirty and data != "unknown"
    return Gate(
        "lineage",
        clean or not proposal.stage.clean_commit,
        f"run {lineage.run_id[:8]}, commit {commit[:8]}{dirty}, data {data[:8]}",
        "run, clean commit and data version" if proposal.stage.clean_commit else "run",
    )


def check_uri(proposal: Proposal) -> Gate:
    """What is pinned can be read where it is pinned, and always means the same bytes."""
    scheme = urlsplit(proposal.uri).scheme
    return Gate(
        "uri",
        not proposal.stage.overlays
        or (scheme in CLUSTER_SCHEMES and proposal.candidate.card.weights.sha256 in proposal.uri),
        proposal.uri,
        "named by digest, " + " ".join(CLUSTER_SCHEMES) if proposal.stage.overlays else "readable here",
    )


def check_calibration(card: ModelCard) -> Gate:
    """Thresholds were measured, not copied."""
    match card.task:
        case "face_embedding":
            identification = card.identification
            right = (
                identification is not None
                and card.embedding is not None
                and identification.space == card.embedding.space
            )
            found = f"similarity {identification.threshold} at FPIR {identification.fpir}" if identification else "none"
            required = "a threshold at a stated FPIR, in the card's own space"
        case "action" | "behaviour":
            right = card.action is not None
            found = f"temperature {card.action.temperature:.3f}" if card.action else "none"
            required = "temperature and segment thresholds"
        case _:
            right = card.minimum_confidence is not None
            found, required = f"confidence {card.minimum_confidence}", "a minimum confidence"
    return Gate("calibration", right, found, required)


def check_embedding_space(proposal: Proposal) -> Gate:
    """Enrolled people stay findable: same space as the gallery, or a plan to re-embed it."""
    card = proposal.candidate.card
    if card.embedding is None:
        return Gate("embedding space", True, "none", "none for this task")
    required = "the live gallery's, or --reembedding-plan FILE"
    try:
        gallery = Gallery(proposal.gallery).snapshot(card.embedding.space).reference
        return Gate("embedding space", True, f"{card.embedding.space}; gallery of {gallery.subjects}", required)
    except BadInput as fault:
        if proposal.reembedding_plan is None:
            return Gate("embedding space", False, str(fault), required)
    plan = read_plan(proposal.reembedding_plan)
    fits = plan.get("to") == card.embedding.space and bool(plan.get("from")) and bool(plan.get("steps"))
    return Gate("embedding space", fits, f"plan {proposal.reembedding_plan} leads to {plan.get('to')!r}", required)


def read_plan(path: Path) -> dict[str, Any]:
    """A re-embedding plan: JSON with `from`, `to` and `steps`.

    Raises:
        BadInput: It is not one.
    """
    try:
        plan = json.loads(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise BadInput(f"cannot read the re-embedding plan {path}: {fault}") from None
    if not isinstance(plan, dict):
        raise BadInput(f"{path} is no re-embedding plan: expected an object with from, to and steps")
    return plan


def check_size(card: ModelCard, params: PromoteParams) -> Gate:
    """The weights fit the budget."""
    size_mb, limit_mb = card.weights.size_bytes / 1e6, params.size_mb.get(card.task, 0.0)
    return Gate("size", size_mb <= limit_mb, f"{size_mb:.1f} MB", f"<= {limit_mb:g} MB")


def check_latency(proposal: Proposal, params: PromoteParams) -> Gate:
    """One input is answered within the budget, on this machine's engine."""
    card = proposal.candidate.card
    limit_ms = params.latency_ms.get(card.task, 0.0)
    required = f"median <= {limit_ms:g} ms on {proposal.device}"
    try:
        network = load_network(card, proposal.candidate.weights_path, device=proposal.device)
        inputs = _one_input(card)
        times_ms = []
        for _ in range(_WARMUP_RUNS + _LATENCY_RUNS):
            started = time.perf_counter()
            network.run(inputs)
            times_ms.append((time.perf_counter() - started) * 1000)
    except WhodidError as fault:
        return Gate("latency", False, str(fault), required)
    kept = times_ms[_WARMUP_RUNS:]
    median_ms = statistics.median(kept)
    return Gate("latency", median_ms <= limit_ms, f"{median_ms:.1f} ms ({min(kept):.1f} to {max(kept):.1f})", required)


def check_metrics(proposal: Proposal, open_protocol: Callable[[], Protocol], params: PromoteParams) -> Iterator[Gate]:
    """Better than the champion beyond doubt in the first measure, no worse than tolerated in everything else."""
    if proposal.champion is None:
        yield Gate("metrics", True, "nothing serves yet", "better than the champion")
        return
    if proposal.champion.card.weights.sha256 == proposal.candidate.card.weights.sha256:
        yield Gate("metrics", False, "these are the champion's own weights", "better than the champion")
        return
    try:
        protocol = open_protocol()
        candidate, champion = protocol(proposal.candidate), protocol(proposal.champion)
    except (Refused, BadInput) as fault:
        yield Gate("metrics", False, str(fault), "champion and candidate compared")
        return
    yield from judge_measures(candidate, champion, params)
    yield judge_subgroups(candidate, champion, params)


def judge_measures(candidate: Report, champion: Report, params: PromoteParams) -> Iterator[Gate]:
    """A gate a measure, each on the low end of the paired 95 % interval."""
    for index, (name, tally) in enumerate(candidate.measures.items()):
        rival = champion.measures[name]
        difference = compare(tally, rival, draws=params.bootstrap_draws, seed=params.seed)
        found = f"{tally.ratio:.4f}, champion {rival.ratio:.4f}; {difference}"
        if index == 0:
            passed, required = difference.low > params.minimum_gain, f"low end > {params.minimum_gain:+g}"
        else:
            passed, required = difference.low >= -params.tolerance, f"low end >= {-params.tolerance:+g}"
        yield Gate(name, passed, found, required)


def judge_subgroups(candidate: Report, champion: Report, params: PromoteParams) -> Gate:
    """No part of the material may pay for the whole's gain."""
    changes = {
        name: tally.ratio - champion.subgroups[name].ratio
        for name, tally in candidate.subgroups.items()
        if name in champion.subgroups
        and min(tally.chances, champion.subgroups[name].chances) >= params.subgroup_minimum
    }
    worst = min(changes, key=lambda name: changes[name], default="")
    change = changes.get(worst, 0.0)
    return Gate(
        "subgroups",
        change >= -params.subgroup_tolerance and not math.isnan(change),
        f"worst of {len(changes)}: {worst} {change:+.3f}" if changes else "none large enough to judge",
        f"none worse by more than {params.subgroup_tolerance:g}",
    )


def _one_input(card: ModelCard) -> dict[str, NDArray[Any]] | NDArray[Any]:
    if card.window is not None:
        rgb_shape = (1, card.window.frames, card.window.size_px, card.window.size_px, 3)
        inputs: dict[str, NDArray[Any]] = {"rgb": np.zeros(rgb_shape, np.uint8)}
        if card.window.motion:
            inputs["motion"] = np.zeros((1, card.window.frames, MOTION_CHANNELS), np.float32)
        return inputs
    if card.chip is not None:
        return np.zeros((1, 3, card.chip.size_px, card.chip.size_px), np.float32)
    if card.task == "person_detection":
        return np.zeros((1, 300, 300, 3), np.uint8)
    return np.zeros((1, 3, 384, 640), np.float32)
