"""Workplace: a gallery and folders of the benchmark's own, so that it neither reads nor leaves anything behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.contracts.errors import MissingModel
from services.enrolment import Enroller
from services.gallery.store import Gallery
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class Workplace:
    """A temporary folder with everything an analysis needs.

    Attributes:
        settings: The machine's models and graph; everything else lies in `folder`.
        folder: Removed at the end.
        enrolled: Who is in the gallery.
    """

    settings: Settings
    folder: Path
    enrolled: frozenset[str]

    def forget(self) -> None:
        """Throw the evidence away: the next analysis starts anew."""
        shutil.rmtree(self.settings.evidence, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """The settings, for a process of ours."""
        settings = self.settings
        return {
            "WHODID_MODELS": str(settings.models),
            "WHODID_GALLERY": settings.gallery,
            "WHODID_EVIDENCE": settings.evidence,
            "WHODID_ARCHIVE": settings.archive,
            "WHODID_GRAPH": str(settings.graph),
            "WHODID_DEVICE": settings.device,
        }


@contextmanager
def open_workplace(machine: Settings, stills: Path) -> Iterator[Workplace]:
    """Enrol everyone from pictures into a fresh gallery.

    Args:
        machine: Where the models are.
        stills: A folder of subjects, each a folder of pictures.

    Raises:
        MissingModel: There are no pictures, or a model is absent.
        BadInput: A picture is refused.
    """
    pictures = sorted(stills.glob("*/*.jpg"))
    if not pictures:
        raise MissingModel(f"no pictures {stills}/SUBJECT/*.jpg to enrol: run `dvc pull`")
    with tempfile.TemporaryDirectory(prefix="whodid-bench-") as name:
        folder = Path(name)
        settings = replace(
            machine,
            gallery=str(folder / "gallery.db"),
            evidence=str(folder / "evidence"),
            archive=str(folder / "archive.db"),
        )
        enroller = Enroller.load(settings)
        made = [template for path in pictures for template in enroller.make_templates(path.parent.name, path)]
        Gallery.open(settings).enrol(made)
        yield Workplace(settings, folder, frozenset(template.subject_id for template in made))
