"""The same clip through one process and through five over HTTP: the same bytes, and bad requests cost nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

from services.analysis import run_here
from services.client import refer_to_clip
from services.contracts.events import Analysis
from services.contracts.tracks import TracksRequest
from services.patience import send_patiently
from services.settings import read_settings
from services.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("served_home")


@pytest.fixture(scope="module")
def served_home(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHODID_HOME", str(home))
        patch.setenv("WHODID_MODELS", str(models))
        yield home


@pytest.fixture(scope="module")
def server(served_home: Path) -> Iterator[Supervisor]:
    with Supervisor(str(read_settings().graph)) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def request_body(repository: Path) -> bytes:
    (clip,) = (repository / "data/scenes/demo").glob("*.mp4")
    started_at = datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=1)))
    reference = refer_to_clip(clip, camera_id="yard", started_at=started_at)
    return TracksRequest(clip=reference, to_seconds=6).to_json()


def test_http_and_one_process_say_the_same_bytes(server: Supervisor, request_body: bytes) -> None:
    over_http = httpx.post(server.url, content=request_body, timeout=120)
    status, here = run_here(read_settings())(request_body)
    assert (over_http.status_code, status) == (200, 200), over_http.text
    assert over_http.content == here
    events = Analysis.model_validate_json(here).events
    assert events
    assert all(event.camera_id == "yard" and event.started_at and event.started_at.minute == 0 for event in events)


def test_bad_requests_are_answered_and_the_next_one_is_served(
    server: Supervisor, request_body: bytes, tmp_path: Path
) -> None:
    clip = json.loads(request_body)["clip"]
    unreachable = clip | {"uri": f"file://{tmp_path}/gone.mp4"}
    wrong_digest = clip | {"clip_id": "0" * 64}
    faults = {
        b"no json": (400, "format"),
        b'{"clip": 1}': (400, "clip"),
        json.dumps({"clip": unreachable}).encode(): (422, "gone.mp4"),
        json.dumps({"clip": wrong_digest}).encode(): (422, "0" * 64),
        b'{"clip": "' + b"x" * (200 * 2**20) + b'"}': (413, "64 MiB"),
    }
    for body, (status, words) in faults.items():
        reply = httpx.post(server.url, content=body, timeout=120)
        assert (reply.status_code, words in reply.json()["error"]) == (status, True), reply.text[:300]
    assert httpx.post(server.url, content=request_body, timeout=120).status_code == 200


def test_serve_runs_until_told_and_leaves_no_process(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "whodid"), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert "serving on http://127.0.0.1:" in process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 128 + signal.SIGTERM
    assert not any(os.path.exists(f"/proc/{child}") for child in children)


@pytest.mark.parametrize("victim", ["tracks", "identity"])
def test_a_killed_service_comes_back_and_no_clip_is_lost(server: Supervisor, request_body: bytes, victim: str) -> None:
    before = httpx.post(server.url, content=request_body, timeout=120).content
    send = send_patiently(lambda body: _post(server.url, body))
    killed = server.pids()[victim]
    with ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(send, request_body) for _ in range(8)]
        replies[0].result()
        os.kill(killed, signal.SIGKILL)
        answers = [reply.result() for reply in replies]
    assert answers == [(200, before)] * 8
    assert server.pids()[victim] != killed


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    reply = httpx.post(url, content=body, timeout=120)
    return reply.status_code, reply.content
