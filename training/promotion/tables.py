"""Gates and deployments as people read them."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from training.promotion.deployments import Standing
    from training.promotion.gates import Gate
    from training.promotion.verdict import Finding

_PIPED_WIDTH = 160
_GATE = "{:<4} {:<18} {:<62} {}"


def print_gates() -> "Callable[[Gate], None]":
    """Print the heading of the gates' table, and give what prints a row as soon as it is known."""

    def print_row(*cells: str) -> None:
        sys.stdout.write(_GATE.format(*cells) + "\n")
        sys.stdout.flush()

    print_row("", "gate", "found", "required")
    return lambda gate: print_row("pass" if gate.passed else "FAIL", gate.name, gate.found, gate.required)


def print_live(standing: Sequence["Standing"]) -> None:
    """What serves where, since when, by whom."""
    table = Table("stage", "task", "model", "sha256", "since", "by", "why", box=None, header_style="bold")
    for each in standing:
        deployment, change = each.deployment, each.change
        version = f" (version {deployment.version})" if deployment.version else ""
        table.add_row(
            deployment.stage,
            deployment.task,
            f"{deployment.name}@{deployment.card_version}{version}",
            deployment.sha256[:12],
            each.since.astimezone().isoformat(timespec="seconds"),
            change.who,
            f"{change.kind}: {change.why}" + (f" [override: {change.override}]" if change.override else ""),
        )
        if each.canary:
            canary = each.canary
            table.add_row(
                "",
                "canary",
                f"{canary.deployment.name}@{canary.deployment.card_version}",
                canary.deployment.sha256[:12],
                f"{canary.share_percent} %" if canary.share_percent else "shadow",
                canary.who,
                canary.why,
            )
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False).print(table)


def print_findings(findings: Sequence["Finding"], decision: str) -> None:
    """How a canary does beside what serves, and what to do."""
    table = Table("", "figure", "stable", "canary", "limit", box=None, header_style="bold")
    for finding in findings:
        table.add_row(finding.decision, finding.name, finding.stable, finding.canary, finding.limit)
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)
    console.print(table)
    console.print(decision)
