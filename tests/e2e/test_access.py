"""The README's way to serve: asked who calls, why, and for which clip; answered, and recorded."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.client import refer_to_clip
from services.contracts.tracks import TracksRequest
from tests.e2e.clips import write_clip

WHODID = str(Path(sys.executable).parent / "whodid")
PURPOSE = {"X-Whodid-Purpose": "theft on Monday"}


def whodid(*arguments: str, environment: dict[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WHODID, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=240, check=check
    )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, models: Path) -> dict[str, str]:
    return {"WHODID_HOME": str(tmp_path_factory.mktemp("home")), "WHODID_MODELS": str(models)}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "gate.mp4", seconds=1.0, size=(320, 240))


@pytest.fixture(scope="module")
def url(environment: dict[str, str], clip: Path) -> Iterator[str]:
    command = [WHODID, "serve", "--port", "0", "--clips", str(clip.parent)]
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2].rstrip(":")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def post(url: str, body: bytes, *, token: str | None = None, headers: dict[str, str] = PURPOSE) -> httpx.Response:
    sent = headers | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx.post(url, content=body, headers=sent, timeout=200)


def test_a_served_graph_asks_who_why_and_what_and_keeps_the_record(
    url: str, environment: dict[str, str], clip: Path, tmp_path: Path
) -> None:
    body = TracksRequest(clip=refer_to_clip(clip)).to_json()
    assert post(url, body).status_code == 401
    assert post(url, body, token="e30.e30.e30").status_code == 401
    viewer, analyst, north = (
        whodid(
            "token", "--role", role, "--camera-group", group, "--name", "ann", environment=environment
        ).stdout.strip()
        for role, group in (("viewer", "*"), ("analyst", "*"), ("analyst", "north"))
    )
    assert post(url, body, token=viewer).status_code == 403
    assert post(url, body, token=north).status_code == 403
    assert post(url, body, token=analyst, headers={}).status_code == 400
    outside = json.loads(body)["clip"] | {"uri": "file:///etc/passwd"}
    refused = post(url, json.dumps({"clip": outside}).encode(), token=analyst)
    assert (refused.status_code, "root" in refused.text) == (422, False)
    answer = post(url, body, token=analyst)
    assert (answer.status_code, answer.json()["failures"]) == (200, {}), answer.text

    arguments = ("analyze", str(clip), "--server", url, "--out", str(tmp_path))
    unstated = whodid(*arguments, environment=environment, check=False)
    assert (unstated.returncode, "--purpose" in unstated.stderr) == (2, True)
    whodid(*arguments, "--purpose", "lost luggage", environment=environment)

    records = [json.loads(line) for line in whodid("audit", "--json", environment=environment).stdout.splitlines()]
    lookups = [(record["who"], record["why"]) for record in records if record["verb"] == "lookup"]
    assert lookups[0] == ("ann", "theft on Monday")
    assert [why for _, why in lookups] == ["theft on Monday", "lost luggage"]
    assert {record["facts"]["clip_id"] for record in records} == {json.loads(body)["clip"]["clip_id"]}
    assert whodid("audit", "--verify", environment=environment).stdout.count("lines proved") == 1

    log = Path(environment["WHODID_HOME"]) / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    cut = whodid("audit", "--verify", environment=environment, check=False)
    assert (cut.returncode, "cut off" in cut.stderr) == (3, True)


def test_two_people_put_a_name_on_the_watchlist(tmp_path: Path) -> None:
    home = {"WHODID_HOME": str(tmp_path)}
    ann, bob = (
        home | {"WHODID_TOKEN": whodid("token", "--role", "enroller", "--name", name, environment=home).stdout.strip()}
        for name in ("ann", "bob")
    )
    whodid("watchlist", "propose", "ada", "--purpose", "order 7", environment=ann)
    alone = whodid("watchlist", "confirm", "ada", "--purpose", "order 7", environment=ann, check=False)
    assert (alone.returncode, "second person" in alone.stderr) == (2, True)
    whodid("watchlist", "confirm", "ada", "--purpose", "order 7", environment=bob)
    (listing,) = json.loads(whodid("watchlist", "list", "--json", environment=home).stdout)
    assert (listing["subject_id"], listing["proposed_by"], listing["confirmed_by"]) == ("ada", "ann", "bob")
