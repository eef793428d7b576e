"""The archive over HTTP: who sees which events."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from services.access.audit import AuditLog
from services.access.door import PURPOSE_HEADER
from services.access.roles import Grant, Role
from services.access.tokens import make_token_key, mint
from services.archive.store import Archive
from services.gallery.store import Gallery
from services.gallery.strangers import SeenTrack, meet, name_stranger
from services.settings import Settings, read_settings
from services.viewing import PATH, make_application
from tests.unit.archive.histories import analysis_of, named
from tests.unit.gallery.samples import make_template

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
RULES = """
local = true
[camera_groups]
north = ["gate"]
south = ["yard"]
[limits]
requests_per_minute = 1e6
burst = 1000000
"""


@dataclass(frozen=True)
class Client:
    """Asks the application without a socket."""

    application: Callable[..., Any]

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Three clips: on a camera of either group, and on none."""
    monkeypatch.setenv("WHODID_HOME", str(tmp_path))
    (tmp_path / "access.toml").write_text(RULES)
    settings = replace(read_settings(), access=str(tmp_path / "access.toml"))
    make_token_key(settings)
    for camera in ("gate", "yard", None):
        people = [(named("ada"), [("walk", 1.0, 4.0), ("wave", 5.0, 6.0)]), (named(None), [("run", 2.0, 3.0)])]
        Archive(settings.archive).record(
            analysis_of(f"clip {camera}", people, camera_id=camera, started_at=START if camera else None)
        )
    return settings


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(make_application(settings))


def ask(client: Client, settings: Settings, role: Role, group: str = "*", **query: Any) -> Any:
    headers = headers_of(settings, role, group)
    return client.get(PATH, params={name.rstrip("_"): value for name, value in query.items()}, headers=headers)


def headers_of(settings: Settings, role: Role, group: str = "*") -> dict[str, str]:
    token = mint(settings, "ann", [Grant(role, group)], valid_for=timedelta(minutes=5))
    return {"Authorization": f"Bearer {token}", PURPOSE_HEADER: "theft on Monday"}


def test_a_viewer_reads_what_the_archive_holds(client: Client, settings: Settings) -> None:
    page = ask(client, settings, Role.VIEWER, who="ada", did="walk").json()
    kept = [each.event.model_dump(mode="json") for each in Archive(settings.archive).find_events()]
    assert page["events"] == [e for e in kept if e["action"]["name"] == "walk"]
    assert (len(page["events"]), page["more"]) == (3, False)
    named_in_time = ask(client, settings, Role.VIEWER, from_="2026-03-01T10:00:04Z", to="2026-03-02T00:00:00+01:00")
    assert {each["action"]["name"] for each in named_in_time.json()["events"]} == {"wave"}


@pytest.mark.parametrize(("group", "cameras"), [("*", {"gate", "yard", None}), ("north", {"gate"}), ("east", set())])
def test_only_the_cameras_of_the_viewer_s_groups_are_seen(
    client: Client, settings: Settings, group: str, cameras: set[str | None]
) -> None:
    for query in ({}, {"who": "ada"}, {"unknown": True}, {"did": "run"}):
        found = ask(client, settings, Role.VIEWER, group, **query).json()["events"]
        assert {each.get("camera_id") for each in found} == cameras
    for camera in ("gate", "yard"):
        status = ask(client, settings, Role.VIEWER, group, camera=camera).status_code
        assert status == (200 if camera in cameras else 403)


def test_pages_follow_each_other_and_end(client: Client, settings: Settings) -> None:
    pages = [ask(client, settings, Role.ANALYST, limit=4, page=number).json() for number in (1, 2, 3)]
    ids = [event["event_id"] for page in pages for event in page["events"]]
    assert [len(page["events"]) for page in pages] == [4, 4, 1]
    assert [page["more"] for page in pages] == [True, True, False]
    assert len(set(ids)) == 9


def test_a_stranger_s_past_is_found_under_the_name_they_were_given(client: Client, settings: Settings) -> None:
    archive, strangers = Archive(settings.archive), Gallery.open(settings, settings.strangers)
    face = make_template("", 7)
    seen = SeenTrack("t2", 2.0, 3.0, face.embedding.vector, (face,))
    called = meet(strangers, [seen], similarity_among=lambda _: 0.99, keep=timedelta(days=1))
    archive.call_strangers(archive.find_analyses(camera_id="gate")[0].analysis_id, called)
    name_stranger(Gallery.open(settings), strangers, called["t2"], "bo")
    for name in ("bo", called["t2"]):
        (event,) = ask(client, settings, Role.VIEWER, who=name).json()["events"]
        assert (event["action"]["name"], event["pseudonym"], event["identity"]["subject_id"]) == (
            "run", called["t2"], None,
        )  # fmt: skip


def test_every_question_is_recorded_with_its_purpose_before_it_is_answered(client: Client, settings: Settings) -> None:
    ask(client, settings, Role.VIEWER, who="ada", camera="gate")
    (record,) = AuditLog.open(settings).read()
    assert (record.verb, record.who, record.why) == ("search", "ann", "theft on Monday")
    assert record.facts["camera_id"] == "gate"
    settings.audit.unlink()
    settings.audit.mkdir()
    assert ask(client, settings, Role.VIEWER).status_code == 503


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 0}, 422),
        ({"limit": 501}, 422),
        ({"page": 0}, 422),
        ({"from_": "yesterday"}, 422),
        ({"from_": "2026-03-01T10:00:00"}, 422),
        ({"from_": "1970-01-01T00:00:00Z"}, 422),
        ({"who": "ada", "unknown": True}, 400),
        ({"from_": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, 400),
    ],
)
def test_a_question_that_is_none_is_refused(
    client: Client, settings: Settings, query: dict[str, Any], status: int
) -> None:
    assert ask(client, settings, Role.VIEWER, **query).status_code == status


def test_without_token_role_or_purpose_nothing_is_told(client: Client, settings: Settings) -> None:
    assert client.get(PATH).status_code == 401
    assert ask(client, settings, Role.AUDITOR).status_code == 403
    headers = headers_of(settings, Role.VIEWER)
    del headers[PURPOSE_HEADER]
    assert client.get(PATH, headers=headers).status_code == 400
    assert (
        client.request("GET", PATH, headers=headers_of(settings, Role.VIEWER), content=bytes(70_000)).status_code == 413
    )


def test_whatever_is_sent_nothing_is_a_fault_of_ours(client: Client, settings: Settings) -> None:
    schema = client.get("/openapi.json", headers=headers_of(settings, Role.ADMIN)).json()
    (operation,) = [found.ok() for found in schemathesis.openapi.from_dict(schema).get_all_operations()]
    headers = headers_of(settings, Role.VIEWER)

    @hypothesis_settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case) -> None:
        answer = client.request(case.method, PATH, params=case.query, headers=headers)
        assert answer.status_code < 500, answer.text

    send()
