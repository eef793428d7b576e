"""Killed without warning, any number of times: what was acknowledged is there, and nothing is there by half."""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.archive.store import Archive
from services.contracts.events import Analysis
from tests.unit.archive.histories import analysis_of, named
from tests.unit.archive.postgres import Cluster

DEEDS = [("walk", float(second), second + 0.5) for second in range(20)]


def analysis_number(number: int) -> Analysis:
    return analysis_of(f"clip {number}", [(named("ada"), DEEDS), (named(None), DEEDS)])


def write_for_ever(location: str, first: int) -> None:
    """What the child does: says a number once its analysis is recorded."""
    archive = Archive(location)
    for number in itertools.count(first):
        archive.record(analysis_number(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def start_writer(location: str, first: int) -> "subprocess.Popen[str]":
    program = f"from {__name__} import write_for_ever; write_for_ever({location!r}, {first})"
    root = Path(__file__).parents[3]
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root)


@contextmanager
def writing(location: str, firsts: list[int]) -> "Iterator[list[subprocess.Popen[str]]]":
    """Several at once, killed at the end of the block, whatever happened in it."""
    with ExitStack() as stack:
        writers = [stack.enter_context(start_writer(location, first)) for first in firsts]
        for writer in writers:
            stack.callback(writer.kill)
        yield writers


def acknowledged(writer: "subprocess.Popen[str]") -> Iterator[int]:
    assert writer.stdout is not None
    # A line cut short was never finished saying.
    return (int(line) for line in writer.stdout if line.endswith("\n"))


def assert_whole(location: str, numbers: set[int]) -> None:
    found: dict[str, int] = {}
    for sighting in Archive(location).find_events():
        found[sighting.event.clip_id] = found.get(sighting.event.clip_id, 0) + 1
    assert set(found.values()) <= {2 * len(DEEDS)}
    assert {analysis_number(number).clip.clip_id for number in numbers} <= set(found)


def test_a_killed_writer_loses_nothing_it_acknowledged(location: str) -> None:
    numbers: set[int] = set()
    for kill in range(3):
        with start_writer(location, first=1000 * kill) as writer:
            said = acknowledged(writer)
            numbers |= set(itertools.islice(said, 3))
            time.sleep(0.013 * kill)
            writer.kill()
            numbers |= set(said)
        assert_whole(location, numbers)
    assert len(numbers) >= 9


def test_a_killed_server_loses_nothing_it_acknowledged(cluster: Cluster, postgresql_url: str) -> None:
    with start_writer(postgresql_url, first=0) as writer:
        said = acknowledged(writer)
        numbers = set(itertools.islice(said, 5))
        cluster.kill()
        numbers |= set(said)
        assert writer.wait() != 0
    cluster.start()
    assert_whole(postgresql_url, numbers)


def test_many_may_make_and_write_one_archive_at_once(location: str) -> None:
    with writing(location, firsts=[0, 100, 200]) as writers:
        numbers = {number for writer in writers for number in itertools.islice(acknowledged(writer), 2)}
    assert len(numbers) == 6
    assert_whole(location, numbers)


def test_two_writers_of_one_analysis_store_it_once(location: str) -> None:
    with writing(location, firsts=[0, 0]) as writers:
        for writer in writers:
            assert next(acknowledged(writer)) == 0
    assert_whole(location, {0})
