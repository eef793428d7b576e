"""Everything that has ever been used to make a server read what it should not, and the few uris that are honest."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest

from services.access.addresses import is_reachable
from services.access.fetch import fetch, read_address
from services.access.sources import ClipSources, UriRefused
from services.contracts.errors import BadInput, BadUsage

SECRET = b"the secret of the house"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of clips beside a secret, with every kind of way out of it."""
    clips = tmp_path / "clips"
    (clips / "gate").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "clips-of-others").mkdir()
    (tmp_path / "clips-of-others" / "a.mp4").write_bytes(SECRET)
    (clips / "gate" / "a clip #1.mp4").write_bytes(b"frames")
    (clips / "link.mp4").symlink_to(tmp_path / "secret")
    (clips / "out").symlink_to(tmp_path)
    (clips / "inner.mp4").symlink_to(clips / "gate" / "a clip #1.mp4")
    (clips / "dangling.mp4").symlink_to(tmp_path / "nothing")
    os.mkfifo(clips / "pipe.mp4")
    return clips


def read(sources: ClipSources, uri: str) -> bytes:
    with sources.open(uri) as clip:
        return b"".join(clip.blocks)


LOCAL_ESCAPES = [
    "file:///etc/passwd",
    "file:///etc/passwd%00.mp4",
    "file:///proc/self/environ",
    "file:///dev/zero",
    "file://localhost/etc/passwd",
    "file://elsewhere{clips}/gate/a%20clip%20%231.mp4",
    "file://{clips}",
    "file://{clips}/",
    "file://{clips}/gate",
    "file://{clips}/pipe.mp4",
    "file://{clips}/../secret",
    "file://{clips}/%2e%2e/secret",
    "file://{clips}/..%2fsecret",
    "file://{clips}/gate/../../secret",
    "file://{clips}/....//secret/../../secret",
    "file://{clips}\\..\\secret",
    "file://{clips}/link.mp4",
    "file://{clips}/out/secret",
    "file://{clips}/dangling.mp4",
    "file://{clips}-of-others/a.mp4",
    "file://{clips}/gate/a%20clip%20%231.mp4?x=1",
    "file://{clips}/gate/a%20clip%20%231.mp4#t",
    "file:{clips}-of-others/a.mp4",
    "FILE:///etc/passwd",
    "file:///../../../etc/passwd",
    "/etc/passwd",
    "{clips}/gate/a clip #1.mp4",
    "../../etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\server\\share\\clip.mp4",
    " file:///etc/passwd",
    "file:///etc/pass\nwd",
]
CHAINS = [
    "zip://secret::file://{clips}/../secret",
    "simplecache::file:///etc/passwd",
    "filecache::http://127.0.0.1/x",
    "blockcache::s3://allowed/x",
    "zip://a.mp4",
    "tar://a.mp4::file:///etc/passwd",
    "reference://a",
    "github://org:repo@/secret",
    "git://path:main@secret",
    "local:///etc/passwd",
    "memory://secret",
    "data:video/mp4;base64,AAAA",
    "ftp://127.0.0.1/x",
    "sftp://user@127.0.0.1/etc/passwd",
    "smb://host/share",
    "hdfs://host/x",
    "webhdfs://host/x",
    "dask://x",
    "jupyter://x",
    "libarchive://x",
    "dir://x::file:///etc",
    "gopher://127.0.0.1:25/x",
    "dict://127.0.0.1:11211/stats",
    "s3://other-bucket/x",
    "s3://clips-of-others/x",
    "gs://bucket/x",
    "abfs://bucket/x",
    "pipe:0",
    "concat:/etc/passwd",
    "nosuch://clip.mp4",
    "",
]
URLS = [
    "http://127.0.0.1/latest/meta-data/",
    "http://localhost/x",
    "http://127.1/x",
    "http://2130706433/x",
    "http://0x7f000001/x",
    "http://0177.0.0.1/x",
    "http://0/x",
    "http://[::1]/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "https://clips.example.org.evil.example/gate/a.mp4",
    "https://evil.example/clips.example.org/gate/a.mp4",
    "https://clips.example.org@evil.example/gate/a.mp4",
    "https://evil.example#@clips.example.org/gate/a.mp4",
    "https://evil.example?@clips.example.org/gate/a.mp4",
    "https://clips.example.org\\@evil.example/gate/a.mp4",
    "https://user:password@clips.example.org/gate/a.mp4",
    "http://clips.example.org/gate/a.mp4",
    "https://clips.example.org:8443/gate/a.mp4",
    "https://clips.example.org/other/a.mp4",
    "https://clips.example.org/gate-2/a.mp4",
    "https://clips.example.org/gate/../secret",
    "https://clips.example.org/gate/%2e%2e/secret",
    "https://clips.example.org/gate/%252e%252e/secret",
    "https://clips.example.org/gate/..%2f..%2fsecret",
    "https://clips.example.org/gate/a.mp4\r\nHost: evil.example",
    "https://clips。example。org/gate/a.mp4",
    "https://[::1/gate/a.mp4",
    "https://clips.example.org:99999/gate/a.mp4",
    "https:///gate/a.mp4",
]


@pytest.mark.parametrize("uri", LOCAL_ESCAPES + CHAINS + URLS)
def test_what_is_not_listed_is_refused_in_one_form_of_words(uri: str, folder: Path) -> None:
    sources = ClipSources.parse([str(folder), "https://clips.example.org/gate/", "s3://clips"])
    asked = uri.replace("{clips}", str(folder))
    with pytest.raises(UriRefused) as caught:
        read(sources, asked)
    assert caught.value.http_status == 422
    # The same words whether or not something is there, and nothing of what it holds or where a link leads.
    assert str(caught.value) == str(UriRefused(asked))
    assert SECRET.decode() not in str(caught.value)


def test_a_refusal_does_not_tell_a_file_from_nothing(folder: Path) -> None:
    there, absent = (folder.parent / "secret").as_uri(), (folder.parent / "absent").as_uri()
    messages = []
    for uri in (there, absent):
        with pytest.raises(UriRefused) as caught:
            read(ClipSources.parse([str(folder)]), uri)
        messages.append(str(caught.value).replace(uri, "URI"))
    assert messages[0] == messages[1]


def test_nothing_is_allowed_by_default(folder: Path) -> None:
    with pytest.raises(UriRefused):
        read(ClipSources(), (folder / "gate" / "a clip #1.mp4").as_uri())


@pytest.mark.parametrize("name", ["gate/a clip #1.mp4", "inner.mp4"])
def test_a_clip_in_a_listed_folder_is_read(name: str, folder: Path) -> None:
    sources = ClipSources.parse([folder.as_uri()])
    assert read(sources, (folder / name).as_uri()) == b"frames"
    with sources.open((folder / name).as_uri()) as clip:
        assert clip.path == (folder / "gate" / "a clip #1.mp4").resolve()


def test_an_absent_clip_in_a_listed_folder_is_said_to_be_absent(folder: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read(ClipSources.parse([str(folder)]), f"{folder.as_uri()}/none.mp4")


def test_a_folder_swapped_for_a_link_after_the_check_is_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "a clip #1.mp4").write_bytes(SECRET)
    real = os.path.realpath

    def resolve_and_swap(path: str) -> str:
        resolved = real(path)
        if resolved.endswith(".mp4"):
            (folder / "gate").rename(folder / "gate-before")
            (folder / "gate").symlink_to(folder.parent / "elsewhere")
        return resolved

    monkeypatch.setattr(os.path, "realpath", resolve_and_swap)
    with pytest.raises(BadInput):
        read(ClipSources.parse([str(folder)]), (folder / "gate" / "a clip #1.mp4").as_uri())


@pytest.mark.parametrize("entry", ["https://", "https://user@host/", "ftp://host/", "zip://x", "http://host/../x"])
def test_what_is_no_place_for_clips_is_refused_at_start(entry: str) -> None:
    with pytest.raises(BadUsage, match="no place for clips"):
        ClipSources.parse([entry])


class Sending(BaseHTTPRequestHandler):
    """Redirects by path; counts what it is asked."""

    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.headers["Host"], self.path))
        target = {
            "/gate/moved": "/gate/a.mp4",
            "/gate/away": "/secret",
            "/gate/host": "http://metadata.example/latest",
            "/gate/file": "file:///etc/passwd",
            "/gate/loop": "/gate/loop",
        }.get(self.path)
        body = b"" if target else b"frames" * 10
        self.send_response(302 if target else 404 if self.path.endswith("none") else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    handler = type("Handler", (Sending,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler.asked  # type: ignore[attr-defined]  # given above
        running.shutdown()


def test_a_clip_is_fetched_from_a_listed_address_and_through_its_own_redirects(server) -> None:
    url, asked = server
    sources = ClipSources.parse([f"{url}/gate"])
    assert read(sources, f"{url}/gate/a.mp4") == read(sources, f"{url}/gate/moved") == b"frames" * 10
    assert [path for _, path in asked] == ["/gate/a.mp4", "/gate/moved", "/gate/a.mp4"]


@pytest.mark.parametrize("path", ["away", "host", "file"])
def test_a_redirect_that_leads_out_is_refused_and_not_followed(server, path: str) -> None:
    url, asked = server
    with pytest.raises(UriRefused):
        read(ClipSources.parse([f"{url}/gate"]), f"{url}/gate/{path}")
    assert [path for _, path in asked] == [f"/gate/{path}"]


@pytest.mark.parametrize(("path", "reason"), [("loop", "redirects"), ("none", "404")])
def test_a_server_that_has_no_clip_is_named(server, path: str, reason: str) -> None:
    url, _ = server
    with pytest.raises(BadInput, match=reason):
        read(ClipSources.parse([f"{url}/gate"]), f"{url}/gate/{path}")


def test_a_listed_name_that_resolves_inwards_is_refused_unasked(server) -> None:
    url, asked = server
    port = int(url.rpartition(":")[2])
    beginning = read_address(f"http://clips.example:{port}/")
    assert beginning is not None
    for address in ("127.0.0.1", "169.254.169.254", "::1"):
        with fetch(
            f"http://clips.example:{port}/a.mp4", [beginning], resolve=lambda *_, a=address: [ip_address(a)]
        ) as blocks:
            assert blocks is None
    assert asked == []


def test_a_name_is_asked_at_the_address_that_was_checked(server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, asked = server
    beginning = read_address(f"{url}/gate/")
    assert beginning is not None
    monkeypatch.setattr(socket, "getaddrinfo", _numeric_only(socket.getaddrinfo))
    with fetch(f"{url}/gate/a.mp4", [beginning]) as blocks:
        assert blocks is not None
        assert b"".join(blocks) == b"frames" * 10
    assert asked == [(url.removeprefix("http://"), "/gate/a.mp4")]


def _numeric_only(real):
    def getaddrinfo(host, *arguments, **options):
        ip_address(host.decode() if isinstance(host, bytes) else host)  # a name here would be resolved a second time
        return real(host, *arguments, **options)

    return getaddrinfo


def test_a_body_without_end_is_cut_off(server) -> None:
    url, _ = server
    beginning = read_address(f"{url}/")
    assert beginning is not None
    with fetch(f"{url}/a.mp4", [beginning], largest_bytes=10) as blocks:
        assert blocks is not None
        with pytest.raises(OSError, match="larger than 10"):
            list(blocks)


@pytest.mark.parametrize("address", ["93.184.216.34", "10.1.2.3", "192.168.1.4", "2606:2800:220:1::1", "fd12::1"])
def test_public_and_own_networks_are_reachable(address: str) -> None:
    assert is_reachable(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "::1", "169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "::",
     "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::",
     "64:ff9b::7f00:1", "::7f00:1", "192.0.0.192", "240.0.0.1"],
)  # fmt: skip
def test_addresses_of_the_machine_itself_and_its_cloud_are_not(address: str) -> None:
    assert not is_reachable(ip_address(address))
    if address not in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert not is_reachable(ip_address(address), named_outright=True)
