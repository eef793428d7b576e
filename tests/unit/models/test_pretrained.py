import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from services.contracts.errors import BadUsage, MissingModel
from services.models import pretrained
from services.models.catalogue import Distribution, Member, Pretrained, read_pretrained
from services.models.pretrained import fetch
from services.models.store import ModelStore

from .conftest import CardMaker

WHEEL, SDIST = "tiny_net-1-py3-none-any.whl", "tiny_net-1.tar.gz"


def write_wheel(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_net/weights.onnx", content)
        wheel.writestr("../escape.txt", b"out of the archive")


def write_sdist(path: Path, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as sdist:
        for name, member in {"../escape.txt": b"out of the archive", "tiny_net/weights.onnx": content}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(member)
            sdist.addfile(entry, io.BytesIO(member))


@pytest.fixture
def mirror(tmp_path: Path, tiny_onnx: bytes) -> Path:
    """A folder with the release, as a wheel and as an sdist."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    write_wheel(folder / WHEEL, tiny_onnx)
    write_sdist(folder / SDIST, tiny_onnx)
    return folder


@pytest.fixture(params=[WHEEL, SDIST])
def network(
    request: pytest.FixtureRequest,
    mirror: Path,
    tiny_onnx: bytes,
    card_for: CardMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> Pretrained:
    """The catalogue's only network."""
    content = (mirror / request.param).read_bytes()
    entry = Pretrained(
        release="tiny-net==1",
        distribution=Distribution(
            file=request.param, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)
        ),
        member=Member(path="tiny_net/weights.onnx", sha256=hashlib.sha256(tiny_onnx).hexdigest()),
        conversion="none",
        card=card_for(tiny_onnx),
    )
    monkeypatch.setattr(pretrained, "read_pretrained", lambda: [entry])
    return entry


@dataclass
class Index:
    """A simple package index on loopback, and what it was asked for."""

    url: str
    paths: list[str]


@pytest.fixture
def index(mirror: Path, tmp_path: Path) -> Iterator[Index]:
    site = tmp_path / "site"
    page = site / "simple" / "tiny-net"
    page.mkdir(parents=True)
    links = "".join(f'<a href="../../files/{name}#sha256={"0" * 64}">{name}</a>' for name in (WHEEL, SDIST))
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    mirror.rename(site / "files")
    paths: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def log_message(self, format: str, *args: object) -> None:
            paths.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Index(f"http://127.0.0.1:{server.server_port}/simple", paths)
        server.shutdown()
        thread.join()


def assert_empty(store: ModelStore) -> None:
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_a_mirror_folder_fills_an_empty_store(store: ModelStore, network: Pretrained, mirror: Path) -> None:
    (model,) = fetch(store, mirror=mirror)
    store.verify(model)
    assert model.card == network.card
    assert store.champion("face_detection") == model
    assert sorted(path.name for path in store.root.iterdir()) == [model.card.weights.sha256, "champions.json"]
    assert not list(mirror.parent.rglob("escape.txt"))


def test_an_index_fills_an_empty_store_once(store: ModelStore, network: Pretrained, index: Index) -> None:
    heard: list[tuple[str, int, int]] = []
    size_bytes = network.distribution.size_bytes
    (model,) = fetch(store, index_url=index.url, on_progress=lambda *progress: heard.append(progress))
    store.verify(model)
    assert heard[-1] == (network.distribution.file, size_bytes, size_bytes)
    assert sorted(path.name for path in store.root.iterdir()) == [model.card.weights.sha256, "champions.json"]

    index.paths.clear()
    assert fetch(store, index_url=index.url) == [model]
    assert index.paths == []


def test_the_index_is_the_one_pip_uses(
    store: ModelStore, network: Pretrained, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    assert len(fetch(store)) == 1


def test_damaged_weights_are_fetched_again(store: ModelStore, network: Pretrained, mirror: Path) -> None:
    (model,) = fetch(store, mirror=mirror)
    model.weights_path.write_bytes(b"damaged")
    fetch(store, mirror=mirror)
    store.verify(model)


def test_a_champion_is_not_dethroned(store: ModelStore, card_for: CardMaker, network: Pretrained, mirror: Path) -> None:
    own = store.install(card_for(b"own", name="own"), b"own")
    store.set_champion("face_detection", own.card.weights.sha256)
    fetch(store, mirror=mirror)
    assert store.champion("face_detection") == own


def test_a_wrong_distribution_is_refused_before_it_is_opened(
    store: ModelStore, network: Pretrained, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / network.distribution.file).write_bytes(b"another file")
    monkeypatch.setattr(pretrained, "_read_member", lambda *_: pytest.fail("opened an unverified archive"))
    with pytest.raises(MissingModel) as refusal:
        fetch(store, mirror=mirror)
    for part in (network.distribution.file, network.distribution.sha256, hashlib.sha256(b"another file").hexdigest()):
        assert part in str(refusal.value)
    assert_empty(store)


def test_a_wrong_download_is_refused_and_leaves_nothing(
    store: ModelStore, network: Pretrained, index: Index, tmp_path: Path
) -> None:
    (tmp_path / "site" / "files" / network.distribution.file).write_bytes(b"another file")
    with pytest.raises(MissingModel, match=network.distribution.sha256):
        fetch(store, index_url=index.url)
    assert_empty(store)


@pytest.mark.parametrize("what", ["member", "weights"])
def test_a_wrong_member_or_conversion_is_refused_and_leaves_nothing(
    store: ModelStore, network: Pretrained, mirror: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    other = {"sha256": "0" * 64}
    if what == "member":
        changed = network.model_copy(update={"member": network.member.model_copy(update=other)})
    else:
        weights = network.card.weights.model_copy(update=other)
        changed = network.model_copy(update={"card": network.card.model_copy(update={"weights": weights})})
    monkeypatch.setattr(pretrained, "read_pretrained", lambda: [changed])
    with pytest.raises(MissingModel, match=f"expected sha256 {'0' * 64}, found {network.member.sha256}"):
        fetch(store, mirror=mirror)
    assert_empty(store)


def test_an_interrupted_download_leaves_nothing(store: ModelStore, network: Pretrained, index: Index) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(store, index_url=index.url, on_progress=interrupt)
    assert_empty(store)


def test_what_cannot_be_had_says_what_to_do(
    store: ModelStore, network: Pretrained, index: Index, tmp_path: Path
) -> None:
    with pytest.raises(MissingModel, match="pip download --no-deps tiny-net==1"):
        fetch(store, mirror=tmp_path)
    with pytest.raises(MissingModel, match="--mirror"):
        fetch(store, index_url="http://127.0.0.1:9/simple")
    with pytest.raises(MissingModel, match="--mirror"):
        fetch(store, index_url=index.url + "/nowhere")
    with pytest.raises(BadUsage, match="there are tiny"):
        fetch(store, ["huge"])
    assert_empty(store)


def test_the_catalogue_is_whole() -> None:
    networks = read_pretrained()
    assert {network.card.task for network in networks} == {"person_detection", "face_detection", "face_embedding"}
    for network in networks:
        assert network.release in network.card.lineage.source
        assert network.card.version == network.release.partition("==")[2]
        if network.conversion == "none":
            assert network.card.weights.sha256 == network.member.sha256
