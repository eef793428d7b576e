"""The four services and the graph as processes on loopback: a small cluster on one machine."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from services.assembly import LOADERS
from services.contracts.errors import MissingModel, WhodidError

_LISTENING = re.compile(r"listening on (http://\S+)")
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_WATCH_SECONDS = 0.2
# As infra/README.md asks for in a cluster: a trace and a request keep their ids from step to step.
_PROPAGATED = "(?i)^traceparent$,(?i)^x-request-id$"
# A process that ends more often than this within a minute is not restarted any more: something is wrong with it.
_MOST_ENDS = 3
_MINUTE_SECONDS = 60.0


class Supervisor:
    """Starts every service and the graph over them, starts again what ends, and stops them all on the way out.

    Use as a context: inside it every process accepts requests.

    Args:
        graph_file: The InferenceGraph to run.
        port: Where the graph listens on loopback; 0 takes a free one.
        environment: For the services, on top of this process's own. They read clips from the working folder unless
            it, or this process's, says otherwise with `WHODID_CLIPS`.
    """

    def __init__(self, graph_file: str, *, port: int = 0, environment: Mapping[str, str] | None = None) -> None:
        self._graph_file, self._port = graph_file, port
        self._environment = {
            "WHODID_CLIPS": os.getcwd(),
            "PROPAGATE_HEADERS": _PROPAGATED,
            **os.environ,
            **(environment or {}),
            # `events` records which graph ran.
            "WHODID_GRAPH": str(Path(graph_file).absolute()),
        }
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._commands: dict[str, list[str]] = {}
        self._ends: dict[str, list[float]] = {}
        self._stopping, self._failed = threading.Event(), threading.Event()
        self._failure = ""
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.url = ""
        """Where the graph answers, once entered."""

    def __enter__(self) -> Self:
        try:
            starting = {name: self._start(name, ["--port", "0"]) for name in LOADERS}
            urls = {name: process.get() for name, process in starting.items()}
            routes = [f"{name}={url}/v1/models/{name}:predict" for name, url in urls.items()]
            options = [option for route in routes for option in ("--service", route)]
            graph = self._start("graph", ["--graph", self._graph_file, "--port", str(self._port), *options])
            self.url = graph.get()
        except BaseException:
            self._stop()
            raise
        # Started again, a process takes the port it had: the graph looks for it there, and the clients for the graph.
        for name, url in {**urls, "graph": self.url}.items():
            command = self._commands[name]
            command[command.index("--port") + 1] = url.rpartition(":")[2]
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def wait(self) -> None:
        """Block until a process has ended by itself too often to be started again.

        Raises:
            WhodidError: Which one, and with what code.
        """
        self._failed.wait()
        raise WhodidError(self._failure)

    def pids(self) -> dict[str, int]:
        """Process ids by service name, `graph` among them."""
        return {name: process.pid for name, process in self._processes.items()}

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            for name, process in list(self._processes.items()):
                if (code := process.poll()) is None:
                    continue
                now = time.monotonic()
                self._ends[name] = [end for end in self._ends.get(name, []) if now - end < _MINUTE_SECONDS] + [now]
                if len(self._ends[name]) > _MOST_ENDS:
                    self._failure = f"{name} ended by itself with exit code {code}, again: see its last lines above"
                    self._failed.set()
                    return
                sys.stderr.write(f"{name}: ended with exit code {code}, starting it again\n")
                self._start(name, self._commands[name])

    def _start(self, name: str, arguments: Sequence[str]) -> "_Listening":
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}", *arguments],
            env=self._environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            # Ctrl-C reaches this process alone, which then stops the others in order.
            start_new_session=True,
        )
        self._processes[name], self._commands[name] = process, list(arguments)
        assert process.stderr is not None
        return _Listening(name, process, process.stderr)

    def _stop(self) -> None:
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Listening:
    """Reads a process's stderr until it says where it listens, and passes every other line on."""

    def __init__(self, name: str, process: subprocess.Popen[str], stderr: IO[str]) -> None:
        self._name, self._process = name, process
        self._lines: list[str] = []
        self._url = ""
        self._known = threading.Event()
        threading.Thread(target=self._read, args=(stderr,), daemon=True).start()

    def get(self) -> str:
        """The URL, once the process listens.

        Raises:
            MissingModel: It ended for want of a model.
            WhodidError: It ended otherwise, or does not listen in time.
        """
        self._known.wait(_START_SECONDS)
        if self._url:
            return self._url
        code = self._process.poll()
        last = self._lines[-1] if self._lines else "no message"
        if code is None:
            raise WhodidError(f"{self._name} does not listen after {_START_SECONDS:.0f} s: {last}")
        raise (MissingModel if code == MissingModel.exit_code else WhodidError)(f"{self._name}: {last}")

    def _read(self, stderr: IO[str]) -> None:
        with stderr:
            for line in stderr:
                if not self._url and (found := _LISTENING.search(line)):
                    self._url = found[1]
                    self._known.set()
                else:
                    if not self._url:
                        self._lines.append(line.strip())
                    sys.stderr.write(f"{self._name}: {line}")
        self._process.wait()
        self._known.set()
