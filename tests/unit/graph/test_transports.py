import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.graph.spec import GraphInvalid
from services.graph.transports import HttpServices, ServiceFailed


class Dribbling(BaseHTTPRequestHandler):
    """Sends one byte every 0.2 s: never idle as long as the timeout, never done before it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(20):
                self.wfile.write(b" ")
                time.sleep(0.2)
        except ConnectionError:
            return

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def dribbling_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Dribbling) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_the_timeout_covers_the_whole_answer(dribbling_url: str) -> None:
    started_seconds = time.monotonic()
    with HttpServices({}, timeout_seconds=0.5) as services, pytest.raises(ServiceFailed, match=r"within 0\.5 s"):
        services.call(dribbling_url, b"", ())
    assert time.monotonic() - started_seconds < 2


@pytest.mark.parametrize("url", ["tracks", "ftp://tracks/", "http://", "http://[::1/"])
def test_a_service_that_cannot_be_called_is_refused(url: str) -> None:
    with HttpServices({"tracks": url}) as services, pytest.raises(GraphInvalid, match="tracks"):
        services.require(frozenset({"tracks"}))
