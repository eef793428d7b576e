"""The verbs promote, rollback, live and canary of `whodid`. Thin; heavy libraries load when a verb runs."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.contracts.errors import BadUsage

if TYPE_CHECKING:
    from training.promotion.deployments import Standing
    from training.promotion.gates import Gate

promote_app = typer.Typer(add_completion=False)
rollback_app = typer.Typer(add_completion=False)
live_app = typer.Typer(add_completion=False)
canary_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Share traffic with a new version; judge it.")

OverlayOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Another overlay than the stage's, for instance the Knative one.")
]
WhyOption = Annotated[str, typer.Option("--why", help="Goes into the log beside your name.")]


@promote_app.command()
def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Registered model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number in the registry, or an alias.")],
    to: Annotated[str, typer.Option("--to", metavar="STAGE", help="local, staging or production.")],
    why: WhyOption = "",
    override: Annotated[str | None, typer.Option(help="Pass over failed gates, for this reason; it is logged.")] = None,
    publish: Annotated[str | None, typer.Option(metavar="URL", help="Copy the model under this url.")] = None,
    scenes: Annotated[Path | None, typer.Option(help="Held-out scenes to compare action networks on.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="CSV of pairs to compare face networks on.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder the pairs' paths are relative to.")] = None,
    reembedding_plan: Annotated[
        Path | None, typer.Option(help="JSON (from, to, steps): how the gallery moves to another embedding space.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Run the gates; when all pass, make this version the one that serves. Exit code 5: a gate said no."""
    from services.contracts.errors import Refused
    from services.settings import read_settings
    from training.config import read_config
    from training.promotion.tables import print_gates
    from training.stages.promote import Request, promote

    gates: list[Gate] = []
    request = Request(
        name,
        version,
        to,
        why,
        override,
        publish,
        pairs=pairs,
        root=root,
        scenes=scenes,
        reembedding_plan=reembedding_plan,
    )
    on_gate = gates.append if as_json else print_gates()
    try:
        change = promote(request, read_config(), read_settings(), on_gate=on_gate)
    except Refused:
        if as_json:
            _print_json({"promoted": False, "gates": [asdict(gate) for gate in gates]})
        raise
    if as_json:
        _print_json({"promoted": True, **asdict(change)})
        return
    deployment = change.deployment
    typer.echo(f"{deployment.name}@{deployment.card_version} serves {deployment.task} in {deployment.stage}")
    if change.override:
        typer.echo(f"failed gates were passed over: {change.override}")
    if change.pins_commit:
        typer.echo(f"pinned by commit {change.pins_commit[:12]}: push it")


@rollback_app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, or the task, that serves now.")],
    stage: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Where, if it serves in several.")
    ] = None,
    why: WhyOption = "",
) -> None:
    """Restore the version that served before, in one step."""
    from services.settings import read_settings
    from training.config import read_config
    from training.stages.promote import roll_back

    change = roll_back(name, stage, why, read_config(), read_settings())
    deployment = change.deployment
    typer.echo(f"{deployment.name}@{deployment.card_version} serves {deployment.task} in {deployment.stage} again")
    if change.pins_commit:
        typer.echo(f"pinned by commit {change.pins_commit[:12]}: push it")


@live_app.command()
def live(
    at: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601; local time unless it says so.")] = None,
    witness: Annotated[
        str | None, typer.Option(metavar="N:SHA256", help="An end of the log seen earlier; it must be in it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """What serves, or served at TIME, and who changed it: from the verified promotion log alone."""
    from services.settings import read_settings
    from training.promotion.deployments import PromotionLog
    from training.promotion.tables import print_live

    settings = read_settings()
    standing = PromotionLog(settings).live(at=_parse_time(at), witness=witness)
    if as_json:
        _print_json([_describe(each) for each in standing.values()])
    elif standing:
        print_live(list(standing.values()))
    else:
        typer.echo(f"nothing had been promoted{f' by {at}' if at else ''} ({settings.promotions})")


@canary_app.command("start")
def canary_start(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Registered model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number in the registry, or an alias.")],
    to: Annotated[str, typer.Option("--to", metavar="STAGE", help="staging or production.")],
    percent: Annotated[int, typer.Option(help="Of the traffic; 0 is a shadow: ready, but nobody is sent there.")],
    why: WhyOption = "",
    overlay: OverlayOption = None,
    publish: Annotated[str | None, typer.Option(metavar="URL", help="Copy the model under this url.")] = None,
    splitter: Annotated[
        bool, typer.Option("--splitter", help="Share in the graph: where neither Knative nor KServe 0.20 does it.")
    ] = False,
) -> None:
    """Let a version that passes every gate but the comparison take a share of one service's traffic."""
    from services.settings import read_settings
    from training.config import read_config
    from training.promotion.sharing import start_canary
    from training.promotion.tables import print_gates
    from training.stages.promote import Request

    request = Request(name, version, to, why, publish=publish)
    change = start_canary(
        request, percent, overlay, read_config(), read_settings(), splitter=splitter, on_gate=print_gates()
    )
    deployment = change.deployment
    typer.echo(f"{deployment.name}@{deployment.card_version} takes {percent} % in {to}: push {change.pins_commit}")


@canary_app.command("stop")
def canary_stop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, or the task, that serves beside it.")],
    stage: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Where, if it serves in several.")
    ] = None,
    why: WhyOption = "",
    overlay: OverlayOption = None,
) -> None:
    """End a canary; what served goes on alone."""
    from services.settings import read_settings
    from training.config import read_config
    from training.promotion.sharing import stop_canary

    change = stop_canary(name, stage, why, overlay, read_config(), read_settings())
    typer.echo(f"{change.deployment.name}@{change.deployment.card_version} is out: push {change.pins_commit}")


@canary_app.command("report")
def canary_report(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="tracks, identity or action.")],
    stable: Annotated[list[str], typer.Option(metavar="URL|FILE", help="Metrics of a pod that serves; repeatable.")],
    canary: Annotated[list[str], typer.Option(metavar="URL|FILE", help="Metrics of a canary's pod; repeatable.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Compare both versions' live metrics: continue, wait, or abort. Exit code 5: abort."""
    from services.contracts.errors import Refused
    from training.promotion.tables import print_findings
    from training.promotion.verdict import decide, judge, read_figures

    findings = judge(read_figures(stable, service), read_figures(canary, service))
    decision = decide(findings)
    if as_json:
        _print_json({"decision": decision, "findings": [asdict(finding) for finding in findings]})
    else:
        print_findings(findings, decision)
    if decision == "abort":
        worse = ", ".join(finding.name for finding in findings if finding.decision == "abort")
        raise Refused(f"abort the canary of {service}: {worse}; `whodid canary stop` ends it")


def _describe(standing: "Standing") -> dict[str, object]:
    return {
        **asdict(standing.deployment),
        "since": standing.since.isoformat(),
        "who": standing.change.who,
        "why": standing.change.why,
        "change": standing.change.kind,
        "override": standing.change.override,
        "canary": asdict(standing.canary) if standing.canary else None,
    }


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise BadUsage(f"--at {text!r} is no time: write it like 2026-11-22T10:02:13+01:00") from None


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
