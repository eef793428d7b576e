"""`python -m services.graph`: serve an InferenceGraph on one machine as KServe's router would."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from services.access.door import PROPAGATED, Door
from services.contracts.errors import BadUsage, WhodidError
from services.graph.headers import compile_patterns
from services.graph.router import GraphExecutor
from services.graph.server import GraphServer
from services.graph.spec import load_graph, parse_graph
from services.graph.transports import HttpServices
from services.settings import read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a graph until SIGTERM or SIGINT; the exit code is 0 then, 2 for a graph that cannot run."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(options))
    except WhodidError as fault:
        print(f"services.graph: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.graph",
        description="Serve a KServe InferenceGraph on one machine, behaving as KServe's router does.",
        epilog="PROPAGATE_HEADERS in the environment names the headers to pass on, as in a cluster.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--graph", type=Path, metavar="FILE", help="manifest (YAML) or bare spec (JSON or YAML)")
    source.add_argument("--graph-json", metavar="SPEC", help="the InferenceGraph's spec as JSON")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port; 0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--service",
        action="append",
        default=[],
        type=_service,
        metavar="NAME=URL",
        help="URL to POST to for steps with serviceName NAME, path included; repeat for each",
    )
    parser.add_argument(
        "--max-body-mib",
        type=float,
        default=64.0,
        metavar="MIB",
        help="refuse larger requests with 413 (default: %(default)g)",
    )
    return parser


def _service(option: str) -> tuple[str, str]:
    name, separator, url = option.partition("=")
    if not (name and separator and url):
        raise argparse.ArgumentTypeError(f"{option!r} is not NAME=URL")
    return name, url


async def _serve(options: argparse.Namespace) -> None:
    graph = load_graph(options.graph) if options.graph else parse_graph(options.graph_json)
    timeouts = graph.router_timeouts
    door = Door.open(read_settings())
    propagate = compile_patterns(os.environ.get("PROPAGATE_HEADERS"))
    with HttpServices(dict(options.service), timeout_seconds=timeouts.service_client) as services:
        server = GraphServer(
            GraphExecutor(graph, services),
            timeouts,
            # Each service behind this one asks for itself who calls.
            propagate=(*propagate, PROPAGATED) if door else propagate,
            max_body_bytes=int(options.max_body_mib * 2**20),
            door=door,
        )
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_once, loop, number, stop)
        try:
            await server.serve(options.host, options.port, stop=stop, on_listening=_announce)
        except (OSError, OverflowError) as fault:
            raise BadUsage(f"cannot listen on {options.host}:{options.port}: {fault}") from fault


def _stop_once(loop: asyncio.AbstractEventLoop, number: int, stop: asyncio.Event) -> None:
    stop.set()
    # The same signal again ends the process at once.
    loop.remove_signal_handler(number)


def _announce(url: str) -> None:
    print(f"listening on {url}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
