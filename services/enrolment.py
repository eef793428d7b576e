"""`whodid enroll`: faces from pictures and clips become templates of a subject."""

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from services.access.audit import AuditLog
from services.access.caller import current_caller
from services.client import refer_to_clip
from services.console import ProgressBars, print_enrolled
from services.contracts.errors import BadInput
from services.contracts.tracks import TracksRequest
from services.gallery.edits import Consent
from services.gallery.store import Gallery
from services.gallery.template import Template
from services.identity.decide import MINIMUM_QUALITY
from services.identity.embed import FaceEmbedder
from services.identity.templates import make_templates
from services.models.store import ModelStore
from services.perception.evidence import FaceCrop, open_evidence
from services.perception.frame import Picture
from services.perception.quality import FaceQuality
from services.perception.recording import crop_face
from services.settings import Settings, read_settings
from services.tracks.find import Detectors, find_tracks

# Pictures are shrunk to this before the detector looks: a portrait's face stays far above 20 px.
_DETECTION_SIDE_PX = 1280
# A detection this much less sure than the surest is a pattern in the background, not a second person.
_CONFIDENCE_SHARE = 0.5
_FACES_FROM_CLIP = 5


@dataclass(frozen=True, slots=True)
class Enroller:
    """What turns files into templates.

    Attributes:
        detectors: Find the faces.
        embedder: Places them in its embedding space.
        evidence: Where clips' bundles go.
    """

    detectors: Detectors
    embedder: FaceEmbedder
    evidence: str

    @classmethod
    def load(cls, settings: Settings) -> "Enroller":
        """Champions, verified and ready.

        Raises:
            MissingModel: One is absent or not the one its card names.
        """
        store = ModelStore(settings.models)
        return cls(
            Detectors.load(store, device=settings.device),
            FaceEmbedder.load(store, device=settings.device),
            settings.evidence,
        )

    @property
    def one_person(self) -> float | None:
        """Cosine from which two faces count as one person's; None for an embedder without calibration."""
        calibration = self.embedder.card.identification
        return None if calibration is None else calibration.threshold

    def make_templates(self, subject_id: str, path: Path, *, face: int | None = None) -> list[Template]:
        """Templates from one picture (one of them) or clip (up to five).

        Args:
            subject_id: Whose face it is.
            path: Picture or clip.
            face: Which face, or followed person, counted from the left (in a clip: by appearance), where
                there are several.

        Raises:
            BadInput: It cannot be read, holds no face or several with none chosen, or the face is too poor.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from error
        picture = _read_picture(path, content)
        crops = self._clip_faces(path, face) if picture is None else [self._picture_face(path, picture, face)]
        usable = [crop for crop in crops if crop.quality.overall >= MINIMUM_QUALITY]
        if not usable:
            best = max(crops, key=lambda crop: crop.quality.overall).quality
            raise BadInput(
                f"{path}: the face is too poor to enrol (quality {best.overall:.2f}, needs {MINIMUM_QUALITY}: "
                f"{_weakest_part(best)}); give a larger, sharper or more frontal picture"
            )
        return self.embed_crops(subject_id, usable, source_sha256=hashlib.sha256(content).hexdigest())

    def embed_crops(self, subject_id: str, crops: Sequence[FaceCrop], *, source_sha256: str) -> list[Template]:
        """Templates of faces that were cut out already; those too poor for one are left out."""
        return make_templates(self.embedder, subject_id, crops, source_sha256=source_sha256)

    def _picture_face(self, path: Path, picture: Picture, face: int | None) -> FaceCrop:
        found = self.detectors.faces.detect(picture, _DETECTION_SIDE_PX)
        sure = [each for each in found if each.confidence >= _CONFIDENCE_SHARE * found[0].confidence]
        sure.sort(key=lambda each: float(each.box_px[0]))
        return crop_face(picture, sure[_choose(path, len(sure), face, "face")])

    def _clip_faces(self, path: Path, face: int | None) -> list[FaceCrop]:
        tracks = find_tracks(TracksRequest(clip=refer_to_clip(path)), self.detectors, self.evidence)
        seen = [track for track in tracks.tracks if track.faces]
        chosen = seen[_choose(path, len(seen), face, "person with a face")]
        with open_evidence(tracks.evidence.uri, tracks.evidence.sha256) as evidence:
            faces = evidence.faces(chosen.track_id)
        return sorted(faces, key=lambda crop: -crop.quality.overall)[:_FACES_FROM_CLIP]


def enrol_files(
    subject_id: str,
    files: Sequence[Path],
    *,
    gallery: str | None,
    face: int | None,
    duplicate: bool,
    consent: Consent | None,
    as_json: bool,
) -> None:
    """Enrol one subject; either every file gives its templates or nothing is enrolled.

    Args:
        subject_id: The name to answer with.
        files: Pictures or clips.
        gallery: Path or url; the machine's own when None.
        face: Which of several faces.
        duplicate: Whether a face that is enrolled under another name is taken all the same.
        consent: Why they may be recognised, and until when.
        as_json: Print JSON instead of a table.

    Raises:
        BadInput: A file is refused; says which and why.
    """
    settings = read_settings()
    enroller = Enroller.load(settings)
    made = [(path, template) for path in files for template in enroller.make_templates(subject_id, path, face=face)]
    opened = Gallery.open(settings, gallery)
    _record(settings, made)
    opened.enrol((template for _, template in made), duplicate_similarity=None if duplicate else enroller.one_person)
    if consent is not None:
        opened.set_consent(subject_id, consent)
    _print(made, as_json=as_json)


def enrol_folder(folder: Path, *, gallery: str | None, duplicate: bool, as_json: bool) -> None:
    """Enrol everyone in a folder: each sub-folder is a subject, its files their faces.

    Args:
        folder: Of sub-folders.
        gallery: Path or url; the machine's own when None.
        duplicate: Whether a face that is enrolled under another name is taken all the same.
        as_json: Print JSON instead of a table.

    Raises:
        BadInput: There is no sub-folder with files, or a file is refused; nothing is enrolled then.
    """
    files = sorted(path for path in folder.glob("*/*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise BadInput(f"{folder} has no sub-folder with files: expected {folder}/SUBJECT/PICTURE")
    settings = read_settings()
    enroller = Enroller.load(settings)
    made = []
    with ProgressBars(unit="files") as bars:
        for done, path in enumerate(files, start=1):
            made += [(path, template) for template in enroller.make_templates(path.parent.name, path)]
            bars.advance_to("enrolling", done, len(files))
    similarity = None if duplicate else enroller.one_person
    _record(settings, made)
    Gallery.open(settings, gallery).enrol((template for _, template in made), duplicate_similarity=similarity)
    _print(made, as_json=as_json)


def _record(settings: Settings, made: Sequence[tuple[Path, Template]]) -> None:
    subjects = {template.subject_id for _, template in made}
    AuditLog.open(settings).record("enrol", current_caller(), subjects=subjects, templates=len(made))


def _print(made: Sequence[tuple[Path, Template]], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"subject_id": t.subject_id, "file": str(path), "quality": t.quality, "template_id": t.template_id}
            for path, t in made
        ]
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    else:
        print_enrolled(made)


def _read_picture(path: Path, content: bytes) -> Picture | None:
    """The picture upright, or None where the file is not one."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright: NDArray[np.uint8] = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            return upright
    except UnidentifiedImageError:
        return None
    except (OSError, Image.DecompressionBombError) as error:
        raise BadInput(f"{path}: the picture cannot be decoded ({error}); export it again") from error


def _choose(path: Path, count: int, face: int | None, kind: str) -> int:
    if count == 0:
        raise BadInput(f"{path}: no {kind} found; give a picture where the face is at least 40 px high")
    if face is None and count > 1:
        raise BadInput(f"{path}: {count} times a {kind}; say which with --face 1 to --face {count}")
    if face is not None and face > count:
        raise BadInput(f"{path}: --face {face}, but there is only {count} times a {kind}")
    return (face or 1) - 1


def _weakest_part(quality: FaceQuality) -> str:
    parts = {"size": quality.size, "sharpness": quality.sharpness, "pose": quality.pose}
    return f"weakest in {min(parts, key=parts.__getitem__)}"
