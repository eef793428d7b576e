from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.contracts.errors import BadInput, MissingModel
from services.ledger import BrokenLedger, Ledger
from services.settings import read_settings
from services.signing import open_signing_key, public_path
from training.promotion.deployments import Change, Deployment, PromotionLog

FIRST = Deployment("local", "action", "net", "1", "aaaa", "file:///models/1", "a" * 64, "run-1", "commit-1", "data-1")
SECOND = replace(FIRST, version="2", sha256="b" * 64)
ELSEWHERE = replace(FIRST, stage="staging", version="3", sha256="c" * 64)


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("WHODID_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def log(state) -> PromotionLog:
    return PromotionLog(read_settings())


def change(kind, deployment, **more) -> Change:
    return Change(kind, deployment, "ada <ada@example.org>", "because", **more)


def test_before_the_first_change_nothing_is_live_and_nothing_is_made(log, state):
    assert log.live() == {}
    assert not state.exists()


def test_what_was_live_at_every_moment_and_who_changed_it(log):
    changes = [("promote", FIRST), ("promote", ELSEWHERE), ("promote", SECOND), ("rollback", FIRST)]
    times = [log.record(change(kind, deployment)).at for kind, deployment in changes]

    def at(moment):
        return {place: each.deployment.version for place, each in log.live(at=moment).items()}

    local, staging = ("local", "action"), ("staging", "action")
    tick = timedelta(microseconds=1)
    assert at(times[0] - tick) == {}
    assert at(times[0]) == {local: "1"}
    assert at(times[2] - tick) == {local: "1", staging: "3"}
    assert at(times[2]) == {local: "2", staging: "3"}
    assert at(None) == at(datetime.now(UTC)) == {local: "1", staging: "3"}
    standing = log.live()[local]
    assert (standing.change.who, standing.since, standing.before) == ("ada <ada@example.org>", times[3], ())


def test_rollbacks_go_back_step_by_step(log):
    third = replace(FIRST, version="3", sha256="d" * 64)
    for deployment in (FIRST, SECOND, third):
        log.record(change("promote", deployment))
    assert log.live()["local", "action"].before == (FIRST, SECOND)
    log.record(change("rollback", SECOND))
    assert log.live()["local", "action"].before == (FIRST,)


def test_a_canary_stands_beside_what_serves_until_it_is_aborted_or_promoted(log):
    place = ("local", "action")
    log.record(change("promote", FIRST))
    log.record(change("canary", SECOND, share_percent=10))
    standing = log.live()[place]
    assert standing.deployment == FIRST
    assert standing.canary is not None
    assert (standing.canary.deployment, standing.canary.share_percent) == (SECOND, 10)
    log.record(change("abort", SECOND))
    assert log.live()[place].canary is None
    log.record(change("canary", SECOND, share_percent=10))
    log.record(change("promote", SECOND))
    assert (log.live()[place].deployment, log.live()[place].canary) == (SECOND, None)


def test_a_changed_log_answers_nothing(log):
    log.record(change("promote", FIRST))
    path = read_settings().promotions
    path.write_bytes(path.read_bytes().replace(b"ada", b"bob"))
    with pytest.raises(BrokenLedger):
        log.live()


def test_a_log_replaced_by_an_older_one_does_not_hold_the_witness(log):
    first = log.record(change("promote", FIRST))
    assert log.changes(witness=f"1:{first.sha256}")
    with pytest.raises(BrokenLedger, match="cut off or replaced"):
        log.changes(witness=f"2:{'0' * 64}")


def test_a_log_that_is_gone_is_told_from_one_that_never_was(log):
    log.record(change("promote", FIRST))
    read_settings().promotions.unlink()
    with pytest.raises(BrokenLedger):
        log.live()


def test_without_the_public_key_nothing_is_believed(log):
    log.record(change("promote", FIRST))
    public_path(read_settings().signing_key).unlink()
    with pytest.raises(MissingModel, match="public key"):
        log.live()


def test_a_line_of_a_later_version_is_named(log):
    settings = read_settings()
    key = open_signing_key(settings.signing_key)
    Ledger(settings.promotions, key.public).append({"kind": "teleport", "deployment": {}}, key)
    with pytest.raises(BadInput, match="line 1"):
        log.live()
