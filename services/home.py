"""Home: the one folder on this machine where whodid keeps models, gallery, evidence and archive."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """Where state lives. Nothing is made until something is written."""

    root: Path

    @property
    def models(self) -> Path:
        """Content-addressed model versions."""
        return self.root / "models"

    @property
    def gallery(self) -> Path:
        """The default gallery."""
        return self.root / "gallery.db"

    @property
    def evidence(self) -> Path:
        """Evidence bundles, one a clip."""
        return self.root / "evidence"

    @property
    def archive(self) -> Path:
        """Every event ever analysed here."""
        return self.root / "archive.db"


def find_home() -> Home:
    """`$WHODID_HOME`, else `whodid` in the XDG data folder (`~/.local/share`)."""
    if chosen := os.environ.get("WHODID_HOME"):
        return Home(Path(chosen).expanduser().absolute())
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Home(Path(data).absolute() / "whodid")
