"""Who gets in where: every role at every endpoint, all denied unless granted."""

import asyncio
import json
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from services.access.caller import Caller, Denied, current_caller
from services.access.door import PURPOSE_HEADER, Door, permission_for
from services.access.gate import Gate
from services.access.rates import RateLimit
from services.access.roles import PERMISSIONS, Grant, Permission, Role
from services.access.rules import AccessRules, Limits
from services.access.tokens import local_issuer, mint
from services.settings import Settings, read_settings

ENDPOINTS = {
    ("POST", "/v1/models/tracks:predict"): "search",
    ("POST", "/v1/models/tracks:explain"): "search",
    ("POST", "/v2/models/tracks/infer"): "search",
    ("POST", "/v2/models/tracks/versions/1/infer"): "search",
    ("POST", "/v2/models/tracks/generate"): "search",
    ("POST", "/v2/models/tracks/generate_stream"): "search",
    ("GET", "/v1/events"): "view",
    ("GET", "/metrics"): "observe",
    ("GET", "/v1/models"): "operate",
    ("GET", "/v2"): "operate",
    ("GET", "/v2/models"): "operate",
    ("GET", "/v2/models/tracks"): "operate",
    ("POST", "/v2/repository/index"): "operate",
    ("POST", "/v2/repository/models/tracks/load"): "operate",
    ("POST", "/v2/repository/models/tracks/unload"): "operate",
    ("GET", "/docs"): "operate",
    ("GET", "/openapi.json"): "operate",
    ("POST", "/metrics"): "operate",
    ("POST", "/v1/events"): "operate",
    ("POST", "/"): "operate",
    ("PUT", "/v1/models/tracks:predict"): "operate",
    ("GET", "/v1/models/tracks:predict"): "operate",
    ("DELETE", "/v1/models/tracks"): "operate",
    ("GET", "//metrics"): "operate",
    ("GET", "/metrics/../docs"): "operate",
    ("OPTIONS", "/"): "operate",
    ("GET", "/nothing/here"): "operate",
    ("GET", "/"): "anybody",
    ("GET", "/v2/health/live"): "anybody",
    ("GET", "/v2/health/ready"): "anybody",
    ("GET", "/v1/models/tracks"): "anybody",
    ("GET", "/v2/models/tracks/ready"): "anybody",
}
MAY = {
    "search": {Role.ANALYST},
    "view": {Role.VIEWER, Role.ANALYST},
    "observe": {Role.ADMIN, Role.AUDITOR},
    "operate": {Role.ADMIN},
    "anybody": {*Role, None},
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("WHODID_HOME", str(tmp_path))
    mint(read_settings(), "maker of the key", [], valid_for=timedelta(minutes=1))
    return read_settings()


@pytest.fixture
def door(settings: Settings) -> Door:
    groups = {"north": ("gate-1",), "south": ("yard",)}
    return Door(AccessRules(issuers=(local_issuer(settings),), camera_groups=groups, limits=Limits(burst=5)))


def bearer(settings: Settings, *grants: Grant, name: str = "ann") -> list[tuple[str, str]]:
    token = mint(settings, name, grants, valid_for=timedelta(minutes=1))
    return [("Authorization", f"Bearer {token}"), (PURPOSE_HEADER, "theft on Monday")]


def ask(
    door: Door, method: str, path: str, headers: list[tuple[str, str]]
) -> tuple[int, dict[str, str], Any, list[Caller]]:
    """Status, headers, body, and who the application behind the gate saw."""
    seen: list[Caller] = []
    sent: list[Any] = []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append(current_caller())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive() -> Any:
        pytest.fail("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "client": ("192.0.2.1", 7)}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in headers]
    asyncio.run(Gate(application, door)(scope, receive, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, json.loads(sent[1]["body"]), seen


@pytest.mark.parametrize("role", [None, *Role], ids=lambda role: role.value if role else "no role")
@pytest.mark.parametrize(("endpoint", "need"), ENDPOINTS.items(), ids=lambda part: " ".join(part) if part else "")
def test_every_role_at_every_endpoint(
    door: Door, settings: Settings, role: Role | None, endpoint: tuple[str, str], need: str
) -> None:
    grants = [Grant(role)] if role else []
    status, _, _, seen = ask(door, *endpoint, bearer(settings, *grants))
    assert (status, len(seen)) == ((200, 1) if role in MAY[need] else (403, 0))


@pytest.mark.parametrize(("endpoint", "need"), ENDPOINTS.items(), ids=lambda part: " ".join(part) if part else "")
def test_without_a_token_only_whether_it_is_up_is_told(door: Door, endpoint: tuple[str, str], need: str) -> None:
    status, headers, body, seen = ask(door, *endpoint, [])
    if need == "anybody":
        assert (status, len(seen)) == (200, 1)
    else:
        assert (status, seen) == (401, [])
        assert headers["www-authenticate"].startswith("Bearer")
        assert "bearer token" in body["error"]


def test_every_permission_is_somebody_s_and_every_endpoint_needs_what_the_table_says() -> None:
    assert set().union(*PERMISSIONS.values()) == set(Permission)
    named = {"anybody": None, "view": Permission.VIEW, "search": Permission.SEARCH}
    named |= {"observe": Permission.OBSERVE, "operate": Permission.OPERATE}
    assert {endpoint: permission_for(*endpoint) for endpoint in ENDPOINTS} == {
        endpoint: named[need] for endpoint, need in ENDPOINTS.items()
    }


def test_the_application_knows_who_asks_and_why(door: Door, settings: Settings) -> None:
    _, headers, _, (caller,) = ask(door, "POST", "/v1/models/x:predict", bearer(settings, Grant(Role.ANALYST)))
    assert (caller.name, caller.why) == ("ann", "theft on Monday")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert current_caller().name.startswith("local user")


@pytest.mark.parametrize("purpose", [None, "", "  a  ", "x" * 501, "line\x07bell"])
def test_a_search_without_a_purpose_is_refused(door: Door, settings: Settings, purpose: str | None) -> None:
    headers = bearer(settings, Grant(Role.ANALYST))[:1]
    if purpose is not None:
        headers.append((PURPOSE_HEADER, purpose))
    status, _, body, _ = ask(door, "POST", "/v1/models/x:predict", headers)
    assert status == 400
    assert PURPOSE_HEADER in body["error"]


@pytest.mark.parametrize(
    "sent",
    [
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer x.y.z")],
        [("Authorization", "Basic YW5uOmFubg==")],
        [("Authorization", "x.y.z")],
        [("X-Authorization", "Bearer {token}")],
        [("Authorization", "Bearer {token}"), ("Authorization", "Bearer {token}")],
        [("Cookie", "token={token}")],
    ],
)
def test_what_is_not_one_bearer_token_is_no_token(door: Door, settings: Settings, sent: list[tuple[str, str]]) -> None:
    token = bearer(settings, Grant(Role.ADMIN))[0][1].removeprefix("Bearer ")
    status, _, _, seen = ask(door, "GET", "/metrics", [(name, value.format(token=token)) for name, value in sent])
    assert (status, seen) == (401, [])


def test_who_asks_too_often_is_told_when_to_try_again_and_others_are_served(door: Door, settings: Settings) -> None:
    ann, bob = (bearer(settings, Grant(Role.ANALYST), name=name) for name in ("ann", "bob"))
    statuses = [ask(door, "POST", "/v1/models/x:predict", ann)[0] for _ in range(5)]
    status, headers, _, _ = ask(door, "POST", "/v1/models/x:predict", ann)
    assert (statuses, status) == ([200] * 5, 429)
    assert 1 <= int(headers["retry-after"]) <= 60
    assert ask(door, "POST", "/v1/models/x:predict", bob)[0] == 200


def test_who_guesses_tokens_is_slowed_down_and_a_right_one_still_counts(door: Door, settings: Settings) -> None:
    statuses = [ask(door, "GET", "/metrics", [("Authorization", f"Bearer {n}")])[0] for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert ask(door, "GET", "/metrics", bearer(settings, Grant(Role.AUDITOR)))[0] == 200


@pytest.mark.parametrize(
    ("grants", "camera", "allowed"),
    [
        (["analyst@north"], "gate-1", True),
        (["analyst@north"], "yard", False),
        (["analyst@north"], "unlisted", False),
        (["analyst@north"], None, False),
        (["analyst@north", "analyst@south"], "yard", True),
        (["analyst@north", "viewer@south"], "yard", False),
        (["analyst@*"], "gate-1", True),
        (["analyst@*"], "unlisted", True),
        (["analyst@*"], None, True),
        (["admin@*"], "gate-1", False),
        ([], "gate-1", False),
    ],
)
def test_a_grant_holds_for_the_cameras_of_its_group(grants: list[str], camera: str | None, allowed: bool) -> None:
    parsed = tuple(grant for each in grants if (grant := Grant.parse(each)))
    caller = Caller("ann", grants=parsed, camera_groups={"north": ("gate-1",), "south": ("yard",)})
    if allowed:
        caller.require_camera(Permission.SEARCH, camera)
    else:
        with pytest.raises(Denied, match="may not search"):
            caller.require_camera(Permission.SEARCH, camera)


def test_no_door_stands_where_none_is_asked_for(settings: Settings) -> None:
    assert Door.open(settings) is None


def test_a_bucket_refills_and_is_never_more_than_full() -> None:
    now = [0.0]
    limit = RateLimit(60, 2, clock=lambda: now[0])
    assert [limit.take("ann") for _ in range(3)] == [0, 0, 1.0]
    now[0] = 1.0
    assert [limit.take("ann"), limit.take("ann")] == [0, 1.0]
    now[0] = 1000.0
    assert [limit.take("ann") for _ in range(3)] == [0, 0, 1.0]


def test_many_names_take_bounded_memory() -> None:
    limit = RateLimit(60, 1)
    for number in range(10_500):
        limit.take(str(ip_address(number)))
    assert len(limit._buckets) == 10_000
