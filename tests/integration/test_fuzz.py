"""Every endpoint of a served service, from its own OpenAPI schema: whatever is sent, nothing is a fault of ours."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from services.access.door import PURPOSE_HEADER
from services.access.roles import Grant, Role
from services.access.tokens import mint
from services.settings import read_settings

BUDGET_SECONDS = 20.0


@dataclass(frozen=True)
class Served:
    """A service behind its gate, and headers for which everything opens."""

    url: str
    headers: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Served]:
    """`events`: the service that loads no network; the surface is the same for all four."""
    home = tmp_path_factory.mktemp("home")
    rules = home / "access.toml"
    rules.write_text("local = true\n[limits]\nrequests_per_minute = 1000000\nburst = 1000000\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHODID_HOME", str(home))
        token = mint(
            read_settings(), "fuzzer", [Grant(Role.ADMIN), Grant(Role.ANALYST)], valid_for=timedelta(minutes=10)
        )
    log = home / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.events", "--port", "0"],
            cwd=repository,
            env=os.environ | {"WHODID_HOME": str(home), "WHODID_ACCESS": str(rules)},
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )
    try:
        while not (said := re.search(r"listening on (\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield Served(said[1], {"Authorization": f"Bearer {token}", PURPOSE_HEADER: "fuzzing"})
    finally:
        process.terminate()
        process.wait(timeout=40)


def fuzz(operation: schemathesis.APIOperation, served: Served, *, until: float) -> tuple[int, list[str]]:
    """How many requests an operation was sent, at least one, and which were answered with a fault of ours."""
    sent, faults = 0, []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case) -> None:
        nonlocal sent
        if sent and time.monotonic() > until:
            return
        response = case.call(base_url=served.url, headers=served.headers)
        sent += 1
        # 501 says that an endpoint of the protocol is not implemented, which is an answer and no fault.
        if response.status_code >= 500 and response.status_code != 501:
            faults.append(f"{response.status_code} {response.text[:200]}: {case.as_curl_command()[:300]}")

    send()
    return sent, faults


def test_no_request_is_answered_with_a_fault_of_ours(served: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json", headers=served.headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 10
    deadline = time.monotonic() + BUDGET_SECONDS
    faults = []
    for left, operation in zip(range(len(operations), 0, -1), operations, strict=True):
        now = time.monotonic()
        sent, found = fuzz(operation, served, until=now + (deadline - now) / left)
        assert sent > 0, operation.path
        faults += found
    assert httpx.get(served.url, timeout=30).status_code == 200
    assert not faults, "\n".join(sorted(set(faults))[:10])
