"""Verdict: continue, wait or abort a canary, from the live metrics of both versions."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from services.contracts.errors import BadInput

Decision = Literal["continue", "wait", "abort"]

LEAST_REQUESTS = 50
MOST_SLOWDOWN = 1.25
MOST_SHIFT = 0.1
MOST_DRIFT = 0.25
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Figures:
    """What one version did since it started, over all its pods.

    Attributes:
        requests: Answered.
        failures: Of those, with a status of 500 or above; refusals for want of room (503 with a queue) count.
        seconds: Spent on all of them.
        decisions: Tracks by identity decision.
        drift: The largest population stability index.
        models: sha256 of the weights that served.
    """

    requests: float
    failures: float
    seconds: float
    decisions: dict[str, float]
    drift: float
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison."""

    name: str
    decision: Decision
    stable: str
    canary: str
    limit: str


def read_figures(sources: Sequence[str], service: str) -> Figures:
    """Add up the Prometheus text of every pod of a version.

    Args:
        sources: Files or urls.
        service: Only figures with this `service` label.

    Raises:
        BadInput: A source cannot be read, is no Prometheus text, or says nothing of the service.
    """
    from prometheus_client.parser import text_string_to_metric_families

    totals: dict[str, float] = defaultdict(float)
    decisions: dict[str, float] = defaultdict(float)
    failures, drift, models = 0.0, 0.0, set()
    for source in sources:
        try:
            samples = [each for family in text_string_to_metric_families(_read(source)) for each in family.samples]
        except ValueError as fault:
            raise BadInput(f"{source} is not Prometheus text: {fault}") from None
        for sample in samples:
            if sample.labels.get("service") != service:
                continue
            totals[sample.name] += sample.value
            match sample.name:
                case "whodid_requests_total" if sample.labels["status"] >= "500":
                    failures += sample.value
                case "whodid_identities_total":
                    decisions[sample.labels["decision"]] += sample.value
                case "whodid_drift":
                    drift = max(drift, sample.value)
                case "whodid_model_info" if sample.value:
                    models.add(sample.labels["sha256"])
    if "whodid_requests_total" not in totals and not models:
        raise BadInput(f"{', '.join(sources)}: no figures of service {service}")
    return Figures(
        requests=totals["whodid_requests_total"],
        failures=failures,
        seconds=totals["whodid_request_seconds_sum"],
        decisions=dict(decisions),
        drift=drift,
        models=tuple(sorted(models)),
    )


def judge(stable: Figures, canary: Figures) -> list[Finding]:
    """Compare a canary with what serves; a difference counts only beyond its 95 % interval."""
    least = min(stable.requests, canary.requests)
    findings = [
        Finding(
            "requests",
            "continue" if least >= LEAST_REQUESTS else "wait",
            f"{stable.requests:.0f}",
            f"{canary.requests:.0f}",
            f">= {LEAST_REQUESTS} each",
        ),
        Finding(
            "weights",
            "abort" if set(stable.models) == set(canary.models) else "continue",
            ", ".join(sha256[:12] for sha256 in stable.models),
            ", ".join(sha256[:12] for sha256 in canary.models),
            "not the same",
        ),
        _compare_shares("failures", (stable.failures, stable.requests), (canary.failures, canary.requests), 0.0),
    ]
    if stable.requests and canary.requests:
        before, after = stable.seconds / stable.requests, canary.seconds / canary.requests
        slow = canary.requests >= LEAST_REQUESTS and after > MOST_SLOWDOWN * before
        findings.append(
            Finding(
                "mean seconds",
                "abort" if slow else "continue",
                f"{before:.3f}",
                f"{after:.3f}",
                f"<= {MOST_SLOWDOWN:g}×",
            )
        )
    for decision in ("unknown", "abstained"):
        tracks = [sum(figures.decisions.values()) for figures in (stable, canary)]
        if all(tracks):
            shares = [(f.decisions.get(decision, 0.0), n) for f, n in zip((stable, canary), tracks, strict=True)]
            findings.append(_compare_shares(decision, shares[0], shares[1], MOST_SHIFT, both_ways=True))
    findings.append(
        Finding(
            "drift",
            "abort" if canary.drift > MOST_DRIFT else "continue",
            f"{stable.drift:.3f}",
            f"{canary.drift:.3f}",
            f"<= {MOST_DRIFT:g}",
        )
    )
    return findings


def decide(findings: Iterable[Finding]) -> Decision:
    """One abort aborts; else anything to wait for waits."""
    decisions = {finding.decision for finding in findings}
    return "abort" if "abort" in decisions else "wait" if "wait" in decisions else "continue"


def interval_of_difference(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """95 % interval of the second share minus the first, each given as hits and chances.

    Source: Newcombe 1998, Statistics in Medicine 17:873 (method 10, from Wilson's intervals).
    """
    (low_1, high_1), (low_2, high_2) = wilson(*first), wilson(*second)
    share_1, share_2 = first[0] / first[1], second[0] / second[1]
    difference = share_2 - share_1
    return (
        difference - math.hypot(share_2 - low_2, high_1 - share_1),
        difference + math.hypot(high_2 - share_2, share_1 - low_1),
    )


def wilson(hits: float, chances: float) -> tuple[float, float]:
    """95 % interval of a share.

    Source: Wilson 1927.
    """
    share, z2 = hits / chances, _Z95**2
    middle = share + z2 / (2 * chances)
    spread = _Z95 * math.sqrt(share * (1 - share) / chances + z2 / (4 * chances**2))
    return (middle - spread) / (1 + z2 / chances), (middle + spread) / (1 + z2 / chances)


def _compare_shares(
    name: str, stable: tuple[float, float], canary: tuple[float, float], tolerance: float, *, both_ways: bool = False
) -> Finding:
    if not stable[1] or not canary[1]:
        return Finding(name, "wait", "none", "none", "something to compare")
    low, high = interval_of_difference(stable, canary)
    worse = low > tolerance or (both_ways and high < -tolerance)
    sign = "±" if both_ways else "+"
    return Finding(
        name,
        "abort" if worse else "continue",
        f"{stable[0] / stable[1]:.2%}",
        f"{canary[0] / canary[1]:.2%}",
        f"difference [{low:+.2%}, {high:+.2%}] not beyond {sign}{tolerance:.0%}",
    )


def _read(source: str) -> str:
    try:
        if source.startswith(("http://", "https://")):
            reply = httpx.get(source, timeout=10)
            reply.raise_for_status()
            return reply.text
        return Path(source).read_text()
    except (OSError, httpx.HTTPError, UnicodeDecodeError) as fault:
        raise BadInput(f"cannot read metrics from {source}: {fault}") from fault
