"""Starting and ending a canary: gates, patch, commit and log."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from services.contracts.errors import BadInput, BadUsage, Refused
from services.settings import Settings
from training import runs
from training.config import Config
from training.promotion.canary import CANARY_FILES, read_canary, remove_canary, write_canary
from training.promotion.deployments import Change, PromotionLog
from training.promotion.gates import Gate, Proposal, judge
from training.promotion.pins import SERVICE_OF_TASK, check_unchanged, commit
from training.stages.promote import (
    Request,
    attest,
    describe,
    find_operator,
    find_serving,
    find_stage,
    find_standing,
    publish_model,
    published_uri,
    read_candidate,
)


def start_canary(
    request: Request,
    percent: int,
    overlay: Path | None,
    config: Config,
    settings: Settings,
    *,
    splitter: bool = False,
    on_gate: Callable[[Gate], None],
) -> Change:
    """Let a new version take a share of the traffic, once it passed every gate but the comparison.

    Args:
        request: Which version, and where to.
        percent: Of the traffic; 0 for a shadow.
        overlay: Where, when not in the stage's first overlay.
        config: The gates' limits and the stages.
        settings: Where log and key are.
        splitter: Share the traffic in the graph; see training.promotion.canary.
        on_gate: Told each gate's answer as it comes.

    Raises:
        Refused: A gate failed; nothing was changed.
        BadUsage: The stage has no overlay, so no traffic to share.
    """
    stage = find_stage(request.stage, config)
    place = _find_overlay(overlay, stage.overlays, request.stage)
    check_unchanged([place / name for name in CANARY_FILES])
    log = PromotionLog(settings)
    live = log.live()
    registered = runs.find_version(request.name, request.version)
    with tempfile.TemporaryDirectory(prefix="whodid-canary-") as folder:
        candidate = read_candidate(runs.fetch_version(registered, Path(folder)))
        uri = published_uri(request.publish or stage.publish, candidate.card) or registered.source
        proposal = Proposal(
            candidate=candidate,
            registry_tags=registered.tags,
            uri=uri,
            champion=None,
            protocol=None,
            stage=stage,
            gallery=settings.gallery,
            reembedding_plan=request.reembedding_plan,
            device=settings.device,
        )
        gates, failed = judge(proposal, config.promote, on_gate=on_gate)
        if failed:
            raise Refused(f"no canary of {request.name}@{registered.version}: {', '.join(failed)} failed")
        attest(candidate, registered.run_id, settings)
        if uri != registered.source:
            publish_model(candidate, uri)
    deployment = describe(candidate.card, registered, request.stage, uri)
    operator = find_operator()
    if (request.stage, deployment.task) not in live:
        serving = find_serving(request.stage, stage, candidate.card.task, settings)
        if serving is None:
            raise BadInput(
                f"nothing serves {deployment.task} in {request.stage}: promote it, there is nothing to share"
            )
        log.record(Change("adopt", serving, operator, "served when the log began"))
    written = write_canary(place, deployment, percent, splitter=splitter)
    subject = f"Canary of {deployment.name}@{deployment.card_version} in {request.stage}: {percent} %"
    pins_commit = commit(written, f"{subject}\n\n{request.why}\n")
    why = request.why or "to see how it does"
    change = Change("canary", deployment, operator, why, None, [asdict(g) for g in gates], percent, pins_commit)
    log.record(change)
    return change


def stop_canary(
    name: str, stage_name: str | None, why: str, overlay: Path | None, config: Config, settings: Settings
) -> Change:
    """End a canary: what served goes on alone.

    Raises:
        BadInput: None runs there.
    """
    log = PromotionLog(settings)
    standing = find_standing(log, name, stage_name)
    if standing.canary is None:
        raise BadInput(f"no canary beside {name} in {standing.deployment.stage}: see `whodid live`")
    stage = find_stage(standing.deployment.stage, config)
    place = _find_overlay(overlay, stage.overlays, standing.deployment.stage)
    if read_canary(place) != SERVICE_OF_TASK[standing.deployment.task]:
        raise BadInput(f"no canary of {name} in {place}: give its --overlay")
    check_unchanged([place / name for name in CANARY_FILES])
    deployment = standing.canary.deployment
    pins_commit = commit(
        remove_canary(place), f"End the canary of {deployment.name}@{deployment.card_version}\n\n{why}\n"
    )
    change = Change("abort", deployment, find_operator(), why or "ended", pins_commit=pins_commit)
    log.record(change)
    return change


def _find_overlay(overlay: Path | None, overlays: tuple[str, ...], stage: str) -> Path:
    if overlay is None and not overlays:
        raise BadUsage(f"stage {stage} is this machine: it has no traffic to share; use a stage with an overlay")
    return overlay or Path(overlays[0])
