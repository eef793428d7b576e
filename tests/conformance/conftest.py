"""The two ends of a conformance run: services that answer by script, and the graph as a process of its own."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Script = Mapping[str, Any]
"""How a service answers: `body` (`__echo__` sends back what came), `status`, `headers`, `sleep` seconds."""


class ScriptedServices(ThreadingHTTPServer):
    """Services on one loopback port, each at the path of its name; records who was called with what."""

    daemon_threads = True

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        super().__init__(("127.0.0.1", 0), _ScriptedHandler)
        self.scripts = scripts
        self.calls: list[tuple[str, bytes]] = []
        self.headers: list[Mapping[str, str]] = []

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{service}"


class _ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServices

    def do_POST(self) -> None:
        received = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service = self.path.lstrip("/")
        self.server.calls.append((service, received))
        self.server.headers.append(dict(self.headers))
        script = self.server.scripts[service]
        time.sleep(script.get("sleep", 0))
        body = received if script["body"] == "__echo__" else script["body"].encode("latin-1")
        # A router that gave up on a slow service has hung up.
        with contextlib.suppress(ConnectionError):
            self.send_response(script.get("status", 200))
            for name, value in (script.get("headers") or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:
        pass


class GraphProcess:
    """`python -m services.graph` on a free port, until it is stopped."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "PROPAGATE_HEADERS"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.graph", "--port", "0", *arguments],
            cwd=folder,
            env={**inherited, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.url = ""
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.match(r"listening on (http://\S+)", line):
                self.url = found.group(1)
                break
        self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def stop(self) -> int:
        """Stop it as a supervisor would; answers its exit code, with all it wrote to stderr in `lines`."""
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def _serving(scripts: Mapping[str, Script]) -> Iterator[ScriptedServices]:
    with ScriptedServices(scripts) as services:
        threading.Thread(target=services.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield services
        services.shutdown()


@contextlib.contextmanager
def _running(*arguments: str, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[GraphProcess]:
    graph = GraphProcess(arguments, environment or {}, folder)
    try:
        yield graph
    finally:
        graph.stop()


@pytest.fixture(scope="session")
def serving() -> Callable[[Mapping[str, Script]], contextlib.AbstractContextManager[ScriptedServices]]:
    return _serving


@pytest.fixture(scope="session")
def running(repository: Path) -> Callable[..., contextlib.AbstractContextManager[GraphProcess]]:
    def start(*arguments: str, **options: Any) -> contextlib.AbstractContextManager[GraphProcess]:
        return _running(*arguments, folder=repository, **options)

    return start
