"""ModelStore: weights and their cards on disk, one folder per sha256, and which of them are champions."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from services.contracts.card import ModelCard, Task
from services.contracts.errors import BadInput, BadUsage, MissingModel
from services.contracts.message import Sha256

CARD_FILE = "card.json"
CHAMPIONS_FILE = "champions.json"
FETCH_REMEDY = "run `make install`, or `whodid models fetch` and `whodid models install FOLDER`"

_champions = TypeAdapter(dict[Task, Sha256])


class StoredModel(NamedTuple):
    """A card and the weights file it describes."""

    card: ModelCard
    weights_path: Path


def read_weights(card: ModelCard, weights_path: Path) -> bytes:
    """Read the weights file once and prove that these very bytes are the ones the card names.

    Raises:
        MissingModel: The file is absent, or its sha256 is not the card's.
    """
    try:
        weights = weights_path.read_bytes()
    except FileNotFoundError:
        raise MissingModel(f"{card.name}: no weights at {weights_path}; {FETCH_REMEDY}") from None
    _check_weights(card, weights, where=str(weights_path))
    return weights


def check_digest(what: str, *, expected: str, found: str, remedy: str) -> None:
    """Refuse bytes that are not the pinned ones.

    Raises:
        MissingModel: `found` is not `expected`.
    """
    if found != expected:
        raise MissingModel(f"{what} is not the file it should be: expected sha256 {expected}, found {found}; {remedy}")


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Models under `root`: `<sha256 of the weights>/{card.json, weights}`, and `champions.json`."""

    root: Path

    def install(self, card: ModelCard, weights: Path | bytes) -> StoredModel:
        """Copy weights and card in; readers see both or neither.

        Installing weights that are here already replaces their card, and mends damaged weights.

        Raises:
            MissingModel: The weights are absent or not the ones the card names, or the disk is full.
        """
        target = self.root / card.weights.sha256
        with self.incoming(card.weights.size_bytes) as incoming:
            content = read_weights(card, weights) if isinstance(weights, Path) else weights
            _check_weights(card, content, where=card.weights.file)
            staged = incoming / card.weights.file
            _write_durably(staged, content)
            _write_durably(incoming / CARD_FILE, card.model_dump_json(indent=2).encode())
            # Scratch folders are private; a store may be filled by one user and read by another.
            incoming.chmod(0o755)
            try:
                os.rename(incoming, target)
            except OSError:
                if not target.is_dir():
                    raise
                os.replace(staged, target / card.weights.file)
                os.replace(incoming / CARD_FILE, target / CARD_FILE)
            _fsync(self.root)
        return StoredModel(card, target / card.weights.file)

    @contextlib.contextmanager
    def incoming(self, size_bytes: int) -> Iterator[Path]:
        """A scratch folder on the store's own disk, gone afterwards whatever happens.

        Raises:
            MissingModel: The disk is full: names the folder, what was needed and what is free.
            BadUsage: The store may not be written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError as fault:
            if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise BadUsage(
                    f"cannot write under {self.root}: {fault.strerror}; set WHODID_MODELS to a folder of yours"
                ) from fault
            if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
            free_bytes = shutil.disk_usage(place).free
            raise MissingModel(
                f"the disk under {self.root} is full: {size_bytes / 1e6:.1f} MB needed, "
                f"{free_bytes / 1e6:.1f} MB free; free some space or set WHODID_MODELS to a larger disk"
            ) from fault

    def installed(self) -> list[StoredModel]:
        """Every model here, by name and version. Weights are not verified."""
        cards = self.root.glob(f"{'[0-9a-f]' * 64}/{CARD_FILE}")
        return sorted(map(read_card, cards), key=lambda model: (model.card.name, model.card.version))

    def find(self, reference: str) -> StoredModel:
        """Look a model up by `name`, `name@version`, its weights' sha256, or the path of its card.json or folder.

        A bare name with several versions means the champion among them. Weights are not verified: engines do.

        Raises:
            MissingModel: Nothing here answers to it.
            BadUsage: Several versions do, and none is a champion.
        """
        if "/" in reference or reference.endswith(".json"):
            path = Path(reference)
            return read_card(path / CARD_FILE if path.is_dir() else path)
        if re.fullmatch(r"[0-9a-f]{64}", reference):
            return self._at(reference)
        name, _, version = reference.partition("@")
        models = [
            model
            for model in self.installed()
            if model.card.name == name and (not version or model.card.version == version)
        ]
        if len(models) > 1:
            champions = set(self.champions().values())
            models = [model for model in models if model.card.weights.sha256 in champions] or models
        match models:
            case [model]:
                return model
            case []:
                raise MissingModel(f"no model {reference!r} in {self.root}; {FETCH_REMEDY}")
            case _:
                versions = ", ".join(f"{m.card.version} ({m.card.weights.sha256[:12]})" for m in models)
                raise BadUsage(f"{reference!r} names several models, {versions}; give a version or a sha256")

    def verify(self, model: StoredModel) -> None:
        """Recompute the digest of a model's weights.

        Raises:
            MissingModel: The weights are absent or not the ones the card names.
        """
        read_weights(*model)

    def champions(self) -> dict[Task, str]:
        """The sha256 of the model each task uses by default."""
        path = self.root / CHAMPIONS_FILE
        try:
            return _champions.validate_json(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError as fault:
            problem = fault.errors()[0]["msg"]
            raise BadInput(f"{path} does not map tasks to sha256 ({problem}); delete it") from None

    def has_champion(self, task: Task) -> bool:
        """Whether `task` has one, be it whole or not."""
        return task in self.champions()

    def champion(self, task: Task) -> StoredModel:
        """The model `task` uses by default.

        Raises:
            MissingModel: The task has none, or the store lacks it.
        """
        sha256 = self.champions().get(task)
        if sha256 is None:
            raise MissingModel(f"no champion for {task} in {self.root}; {FETCH_REMEDY}")
        return self._at(sha256)

    def set_champion(self, task: Task, sha256: str) -> None:
        """Make an installed model the one `task` uses by default.

        Raises:
            MissingModel: No such model here.
            BadUsage: The model does another task.
        """
        if task not in get_args(Task):
            raise BadUsage(f"no task {task!r}; the tasks are {', '.join(get_args(Task))}")
        card = self._at(sha256).card
        if card.task != task:
            raise BadUsage(f"{card.name}@{card.version} does {card.task}, it cannot be champion of {task}")
        champions = _champions.dump_json(self.champions() | {task: sha256}, indent=2)
        with self.incoming(len(champions)) as incoming:
            _write_durably(incoming / CHAMPIONS_FILE, champions)
            os.replace(incoming / CHAMPIONS_FILE, self.root / CHAMPIONS_FILE)
            _fsync(self.root)

    def _at(self, sha256: str) -> StoredModel:
        path = self.root / sha256 / CARD_FILE
        if not path.is_file():
            raise MissingModel(f"no model with weights {sha256} in {self.root}; {FETCH_REMEDY}")
        return read_card(path)


def read_card(path: Path) -> StoredModel:
    """Read a card.json; the weights beside it are not looked at.

    Raises:
        MissingModel: There is none.
        BadInput: It is not a card.
    """
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise MissingModel(f"no model card at {path}; {FETCH_REMEDY}") from None
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the card"
        raise BadInput(f"{path} is not a model card: {where}: {first['msg']}; delete it and {FETCH_REMEDY}") from None
    return StoredModel(card, path.parent / card.weights.file)


def _check_weights(card: ModelCard, weights: bytes, *, where: str) -> None:
    found = hashlib.sha256(weights).hexdigest()
    check_digest(where, expected=card.weights.sha256, found=found, remedy=FETCH_REMEDY)


def _write_durably(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
