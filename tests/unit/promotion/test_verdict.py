import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.contracts.errors import BadInput
from services.observation.metrics import ServiceMetrics
from training.promotion.verdict import Figures, decide, interval_of_difference, judge, read_figures, wilson


def figures(requests=200.0, failures=0.0, mean_seconds=1.0, unknown=20.0, drift=0.0, model="a") -> Figures:
    return Figures(
        requests=requests,
        failures=failures,
        seconds=requests * mean_seconds,
        decisions={"match": 320.0, "unknown": 4 * unknown, "abstained": 20.0},
        drift=drift,
        models=(model * 64,),
    )


STABLE = figures()


def aborting(canary) -> list[str]:
    return [finding.name for finding in judge(STABLE, canary) if finding.decision == "abort"]


def test_an_equal_canary_goes_on():
    assert decide(judge(STABLE, figures(model="b"))) == "continue"


@pytest.mark.parametrize(
    ("canary", "names"),
    [
        (figures(model="b", failures=10), ["failures"]),
        (figures(model="b", mean_seconds=1.3), ["mean seconds"]),
        (figures(model="b", unknown=90), ["unknown"]),
        (figures(model="b", unknown=1), ["unknown"]),
        (figures(model="b", drift=0.3), ["drift"]),
        (figures(model="a"), ["weights"]),
    ],
    ids=["fails", "slow", "knows nobody", "knows everybody", "drifts", "is no canary"],
)
def test_a_worse_canary_is_aborted_for_what_is_worse(canary, names):
    assert aborting(canary) == names
    assert decide(judge(STABLE, canary)) == "abort"


def test_two_failures_in_two_hundred_prove_nothing():
    assert aborting(figures(model="b", failures=2)) == []


def test_with_few_requests_it_waits_unless_it_is_plainly_worse():
    assert decide(judge(STABLE, figures(model="b", requests=10))) == "wait"
    assert decide(judge(STABLE, figures(model="b", requests=10, failures=8))) == "abort"
    assert decide(judge(STABLE, figures(model="b", requests=0))) == "wait"


def test_intervals_are_the_published_ones():
    # Newcombe 1998, table II, method 10: 56/70 against 48/80 gives 0.0524 to 0.3339.
    low, high = interval_of_difference((48, 80), (56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_the_services_own_metrics_are_read_and_pods_added_up(tmp_path):
    paths = []
    for pod in range(2):
        registry = CollectorRegistry()
        metrics = ServiceMetrics("action", registry)
        metrics.finish(200, 0.5)
        metrics.finish(200, 0.7)
        metrics.finish(500, 0.1)
        other = ServiceMetrics("identity", CollectorRegistry())
        other.finish(500, 9.0)
        path = tmp_path / f"{pod}.prom"
        path.write_bytes(generate_latest(registry))
        paths.append(str(path))
    found = read_figures(paths, "action")
    assert (found.requests, found.failures) == (6, 2)
    assert found.seconds == pytest.approx(2.6)


@pytest.mark.parametrize("content", [None, "{ not prometheus", "up 1\n"])
def test_what_is_no_metrics_of_the_service_is_named(tmp_path, content):
    path = tmp_path / "metrics"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match="metrics"):
        read_figures([str(path)], "action")
