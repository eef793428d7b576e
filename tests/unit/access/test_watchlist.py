from pathlib import Path

import pytest

from services.access.audit import AuditLog
from services.access.caller import Caller, Denied
from services.access.roles import Grant, Role
from services.access.watchlist import Listing, Watchlist
from services.contracts.errors import BadInput

ANN = Caller("ann", "wanted by court order 7", (Grant(Role.ENROLLER),))
BOB = Caller("bob", "order 7 seen", (Grant(Role.ENROLLER),))
ANALYST = Caller("cyd", "order 7", (Grant(Role.ANALYST),))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.jsonl", tmp_path / "keys" / "signing.pem")


@pytest.fixture
def watchlist(log: AuditLog) -> Watchlist:
    return Watchlist(log)


def test_a_name_is_listed_once_two_people_agree(watchlist: Watchlist) -> None:
    watchlist.propose("ada", ANALYST)
    assert watchlist.listings() == [Listing("ada", "cyd", "order 7")]
    watchlist.confirm("ada", BOB)
    assert watchlist.listings() == [Listing("ada", "cyd", "order 7", "bob")]


def test_nobody_confirms_their_own_proposal(watchlist: Watchlist) -> None:
    watchlist.propose("ada", ANN)
    with pytest.raises(Denied, match="second person"):
        watchlist.confirm("ada", ANN)
    assert watchlist.listings()[0].confirmed_by is None


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.ADMIN])
def test_who_may_not_propose_cannot(watchlist: Watchlist, role: Role) -> None:
    with pytest.raises(Denied, match="may not propose"):
        watchlist.propose("ada", Caller("x", "y", (Grant(role),)))
    assert watchlist.listings() == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.ANALYST])
def test_who_may_not_confirm_cannot(watchlist: Watchlist, role: Role) -> None:
    watchlist.propose("ada", ANN)
    with pytest.raises(Denied, match="may not confirm"):
        watchlist.confirm("ada", Caller("x", "y", (Grant(role),)))


def test_a_name_is_proposed_once_and_confirmed_once(watchlist: Watchlist) -> None:
    with pytest.raises(BadInput, match="awaits no confirmation"):
        watchlist.confirm("ada", BOB)
    watchlist.propose("ada", ANN)
    with pytest.raises(BadInput, match="already"):
        watchlist.propose("ada", BOB)
    watchlist.confirm("ada", BOB)
    with pytest.raises(BadInput, match="awaits no confirmation"):
        watchlist.confirm("ada", Caller("dan", "z", (Grant(Role.ADMIN),)))


def test_a_withdrawn_name_needs_two_people_again(watchlist: Watchlist) -> None:
    watchlist.propose("ada", ANN)
    watchlist.confirm("ada", BOB)
    watchlist.withdraw("ada", BOB)
    assert watchlist.listings() == []
    watchlist.propose("ada", BOB)
    assert watchlist.listings()[0].confirmed_by is None


def test_a_forgotten_subject_is_no_longer_named_on_it(watchlist: Watchlist, log: AuditLog) -> None:
    watchlist.propose("ada", ANN)
    log.forget_subject("ada")
    (listing,) = watchlist.listings()
    assert listing.subject_id.startswith("forgotten:")
    assert listing.why is None
