"""A second version is loaded beside the first while requests go on: not one of them fails."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import onnx
import pytest

from services.contracts.action import ActionResponse
from services.contracts.tracks import TracksResponse
from services.models.store import ModelStore
from tests.unit.bundles import write_bundle

REQUESTS = 200


@pytest.fixture
def store(tmp_path: Path, models: Path) -> ModelStore:
    """Two versions of the action network, the same numbers in different files; the first is champion."""
    ours = ModelStore(tmp_path / "models")
    card, weights = ModelStore(models).champion("action")
    ours.install(card, weights)
    ours.set_champion("action", card.weights.sha256)
    return ours


def add_version(store: ModelStore) -> str:
    """Install the champion's network again, as version 2, and make it champion; its sha256."""
    card, path = store.champion("action")
    network = onnx.load(path)
    network.doc_string = "version 2"
    content = network.SerializeToString()
    weights = card.weights.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    )
    store.install(card.model_copy(update={"version": "2", "weights": weights}), content)
    store.set_champion("action", weights.sha256)
    return weights.sha256


@contextmanager
def serving(home: Path, *options: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    said = home / "stderr.txt"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.action", "--port", "0", *options],
            env={
                **os.environ,
                "WHODID_HOME": str(home),
                "WHODID_MODELS": str(home / "models"),
                "WHODID_EVIDENCE": str(home / "evidence"),
                **environment,
            },
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )
    try:
        while not (found := re.search(r"listening on (http://\S+)\n", said.read_text())):
            assert process.poll() is None, said.read_text()
            time.sleep(0.05)
        yield found[1], process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def request_body(tmp_path: Path) -> bytes:
    """One person seen for four seconds, as `tracks` would have written it down."""
    answer = write_bundle(tmp_path / "evidence", [((200, 30, 30), 0.0, 4.0)])
    return renamed(answer).to_json()


def renamed(answer: TracksResponse) -> TracksResponse:
    # Services read bundles that are named as theirs are, by a digest.
    old = Path(answer.evidence.uri.removeprefix("file://"))
    new = old.with_name("b" * 64 + ".zip")
    shutil.move(old, new)
    uri = answer.evidence.uri.replace(old.name, new.name)
    return answer.model_copy(update={"evidence": answer.evidence.model_copy(update={"uri": uri})})


def version_of(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    (model,) = ActionResponse.model_validate_json(reply.content).models
    return model.sha256


def test_no_request_fails_while_a_version_is_replaced(store: ModelStore, request_body: bytes, tmp_path: Path) -> None:
    old = store.champion("action").card.weights.sha256
    with serving(tmp_path) as (url, _), httpx.Client(timeout=120) as client, ThreadPoolExecutor(4) as pool:
        ask = [
            pool.submit(client.post, f"{url}/v1/models/action:predict", content=request_body, headers=JSON)
            for _ in range(REQUESTS)
        ]
        ask[REQUESTS // 4].result()
        new = add_version(store)
        loaded = client.post(f"{url}/v2/repository/models/action/load")
        assert loaded.status_code == 200, loaded.text
        after = version_of(client.post(f"{url}/v1/models/action:predict", content=request_body, headers=JSON))
        versions = [version_of(each.result()) for each in ask]
    assert after == new
    assert set(versions) == {old, new}


def test_a_damaged_version_is_refused_and_the_old_one_goes_on(
    store: ModelStore, request_body: bytes, tmp_path: Path
) -> None:
    old = store.champion("action").card.weights.sha256
    with serving(tmp_path) as (url, _), httpx.Client(timeout=120) as client:
        new = add_version(store)
        weights = store.root / new / "model.onnx"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        refused = client.post(f"{url}/v2/repository/models/action/load")
        assert (refused.status_code, new in refused.json()["error"]) == (503, True)
        assert client.get(f"{url}/v2/models/action/ready").status_code == 200
        reply = client.post(f"{url}/v1/models/action:predict", content=request_body, headers=JSON)
    assert version_of(reply) == old


def test_other_weights_than_the_pinned_ones_are_refused_in_words(store: ModelStore, tmp_path: Path) -> None:
    pinned = "f" * 64
    with serving(tmp_path, "--stay", WHODID_PINS=f"action={pinned}") as (url, _):
        for _ in range(600):
            ready = httpx.get(f"{url}/v2/models/action/ready")
            if "loaded" not in ready.json()["error"]:
                break
            time.sleep(0.1)
        request = httpx.post(f"{url}/v1/models/action:predict", json={})
    assert ready.status_code == 503
    assert f"action is pinned to {pinned}" in ready.json()["error"]
    assert (request.status_code, "pinned" in request.json()["error"]) == (503, True)


def test_a_stopped_service_finishes_what_is_under_way(store: ModelStore, request_body: bytes, tmp_path: Path) -> None:
    with serving(tmp_path, "--drain-seconds", "1") as (url, process), ThreadPoolExecutor(8) as pool:
        ask = [
            pool.submit(httpx.post, f"{url}/v1/models/action:predict", content=request_body, headers=JSON, timeout=120)
            for _ in range(8)
        ]
        ask[0].result()
        process.send_signal(signal.SIGTERM)
        assert [each.result().status_code for each in ask] == [200] * 8
        process.wait(timeout=60)


def test_a_full_service_says_when_to_come_back(store: ModelStore, request_body: bytes, tmp_path: Path) -> None:
    with serving(tmp_path, "--queue", "1") as (url, _), ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(
                lambda _: httpx.post(
                    f"{url}/v1/models/action:predict", content=request_body, headers=JSON, timeout=120
                ),
                range(8),
            )
        )
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) == {200, 503}
    busy = replies[statuses.index(503)]
    assert int(busy.headers["retry-after"]) == busy.json()["retry_after_seconds"] > 0


JSON = {"content-type": "application/json"}
