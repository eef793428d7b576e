"""Settings: where state lives on this machine and which device runs networks. Read from the environment."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from services.contracts.errors import BadUsage

_LONGEST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service needs to know of its machine. Nothing is made until something is written.

    Attributes:
        models: The folder of the model store.
        gallery: Path or SQLAlchemy url of the gallery.
        evidence: Folder of the evidence bundles.
        archive: Path or SQLAlchemy url of the archive.
        graph: The InferenceGraph manifest to run on this machine.
        device: Which engine runs networks; see services.models.engine.
        promotions: The promotion log; see services.ledger.
        signing_key: This machine's private key; see services.signing.
        clips: Folders and urls a served `tracks` may read clips from; see services.access.sources. None by default.
        audit: The audit log; see services.access.audit.
        access: How a served API knows its callers: a file, `local`, or empty for not at all; see services.access.rules.
        token: What the command line proves itself with at a served API.
        pins: The only weights a task may use, sha256 by task; the champion where a task has none.
        key: Master keys of the gallery, base64, the current one first; see services.gallery.keys.
        key_file: A file that holds them; one beside the gallery when neither is given.
        forgetting: Folder of erasures under way and of their certificates.
        strangers: Path or SQLAlchemy url of the gallery of people nobody has named; see services.gallery.strangers.
        strangers_days: How long such a person is known again after they were last seen; 0 keeps nothing of them.
    """

    models: Path
    gallery: str
    evidence: str
    archive: str
    graph: Path
    device: str
    promotions: Path
    signing_key: Path
    clips: tuple[str, ...]
    audit: Path
    access: str
    token: str | None = field(default=None, repr=False)
    pins: dict[str, str] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    forgetting: Path = Path("forgetting")
    strangers: str = "strangers.db"
    strangers_days: float = 30.0


def read_settings() -> Settings:
    """Settings under `$WHODID_HOME`, else `whodid` in the XDG data folder (`~/.local/share`).

    `$WHODID_MODELS`, `$WHODID_GALLERY`, `$WHODID_EVIDENCE`, `$WHODID_ARCHIVE`, `$WHODID_GRAPH`,
    `$WHODID_DEVICE`, `$WHODID_PROMOTIONS` and `$WHODID_SIGNING_KEY` move single parts.
    `$WHODID_CLIPS` is a list, with commas; `$WHODID_AUDIT` moves the audit log, `$WHODID_ACCESS` names access rules.
    `$WHODID_PINS` is a list of TASK=SHA256. `$WHODID_KEY` or `$WHODID_KEY_FILE` seal the gallery.
    `$WHODID_STRANGERS` moves what is kept of unknown people, `$WHODID_STRANGERS_DAYS` says for how long.
    """
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    home = Path(os.environ.get("WHODID_HOME") or data / "whodid").expanduser().absolute()
    return Settings(
        models=Path(os.environ.get("WHODID_MODELS") or home / "models"),
        gallery=os.environ.get("WHODID_GALLERY") or str(home / "gallery.db"),
        evidence=os.environ.get("WHODID_EVIDENCE") or str(home / "evidence"),
        archive=os.environ.get("WHODID_ARCHIVE") or str(home / "archive.db"),
        graph=Path(os.environ.get("WHODID_GRAPH") or Path(__file__).parents[1] / "infra" / "base" / "graph.yaml"),
        device=os.environ.get("WHODID_DEVICE") or "cpu",
        promotions=Path(os.environ.get("WHODID_PROMOTIONS") or home / "promotions.jsonl"),
        signing_key=Path(os.environ.get("WHODID_SIGNING_KEY") or home / "keys" / "signing.pem"),
        clips=tuple(entry for entry in os.environ.get("WHODID_CLIPS", "").split(",") if entry),
        audit=Path(os.environ.get("WHODID_AUDIT") or home / "audit.jsonl"),
        access=os.environ.get("WHODID_ACCESS", ""),
        token=os.environ.get("WHODID_TOKEN"),
        pins=_read_pins(os.environ.get("WHODID_PINS", "")),
        key=os.environ.get("WHODID_KEY"),
        key_file=Path(os.environ["WHODID_KEY_FILE"]) if os.environ.get("WHODID_KEY_FILE") else None,
        forgetting=home / "forgetting",
        strangers=os.environ.get("WHODID_STRANGERS") or str(home / "strangers.db"),
        strangers_days=_read_days(os.environ.get("WHODID_STRANGERS_DAYS") or "30"),
    )


def _read_days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= _LONGEST_DAYS:
        raise BadUsage(f"WHODID_STRANGERS_DAYS is {text!r}: a number of days from 0 (keep nothing) to {_LONGEST_DAYS}")
    return days


def _read_pins(text: str) -> dict[str, str]:
    pins = {}
    for entry in filter(None, text.split(",")):
        task, separator, sha256 = entry.partition("=")
        if not (task and separator and re.fullmatch(r"[0-9a-f]{64}", sha256)):
            raise BadUsage(f"WHODID_PINS has {entry!r}: it is a list of TASK=SHA256, with commas")
        pins[task] = sha256
    return pins
