"""What `whodid doctor` looks at: packages, engine, models and their digests, graph, gallery, disk."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import get_args

from services.contracts.card import Task
from services.contracts.errors import WhodidError
from services.gallery.store import Gallery
from services.graph.spec import load_graph
from services.models.store import ModelStore
from services.settings import Settings, read_settings

_PACKAGES = ("whodid", "av", "numpy", "openvino", "kserve", "pydantic", "onnxruntime-gpu", "onnxruntime", "torch")
_OPTIONAL = ("onnxruntime-gpu", "onnxruntime", "torch")
# What an analysis does without.
_OPTIONAL_TASKS: tuple[Task, ...] = ("behaviour", "interaction")
_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        ok: Whether it will do.
        found: What was there.
        remedy: What to do when it will not; empty otherwise.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """Look at everything an analysis needs, verifying every model's bytes."""
    settings = read_settings()
    return [
        Check("python", sys.version_info[:2] == (3, 11), sys.version.split()[0]),
        *_packages(),
        *_models(settings),
        _graph(settings.graph),
        _gallery(settings),
        _disk(settings.models),
    ]


def _packages() -> Iterator[Check]:
    for name in _PACKAGES:
        try:
            yield Check(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            absent = "not installed"
            yield Check(name, name in _OPTIONAL, absent, "" if name in _OPTIONAL else "run `make install`")


def _models(settings: Settings) -> Iterator[Check]:
    store = ModelStore(settings.models)
    for task in get_args(Task):
        try:
            if task in _OPTIONAL_TASKS and not store.has_champion(task):
                yield Check(task, True, "not installed")
                continue
            model = store.champion(task)
            store.verify(model)
        except WhodidError as error:
            yield Check(task, False, *str(error).split("; ", 1))
        else:
            card = model.card
            yield Check(
                task, True, f"{card.name}@{card.version} {card.weights.sha256[:12]} verified, {settings.device}"
            )


def _graph(path: Path) -> Check:
    try:
        graph = load_graph(path)
    except (WhodidError, OSError) as error:
        return Check("graph", False, str(error), "set WHODID_GRAPH to an InferenceGraph manifest")
    return Check("graph", True, f"{path}: {', '.join(sorted(graph.services()))}")


def _gallery(settings: Settings) -> Check:
    gallery = Gallery.open(settings)
    try:
        subjects = gallery.list_subjects()
        outgrown = gallery.outgrown()
        keys = gallery.keys.read() if subjects else None
    except WhodidError as error:
        return Check("gallery", False, str(error), "set WHODID_GALLERY to another file")
    expired = sum(subject.expired for subject in subjects)
    found = f"{settings.gallery}: {len(subjects)} subjects"
    if expired:
        found += f", {expired} of them not matched any more: their consent has expired"
    if outgrown is not None:
        return Check("gallery", False, f"{found}; {outgrown.split('; ')[0]}", "run `whodid gallery calibrate`")
    if keys is not None:
        found += f", sealed with key {keys.current} of {keys.origin}"
    return Check("gallery", True, found)


def _disk(path: Path) -> Check:
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    enough = free >= _FREE_BYTES
    return Check("disk", enough, f"{free / 1e9:.1f} GB free under {path}", "" if enough else "free 2 GB")
