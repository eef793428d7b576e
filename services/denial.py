"""`whodid gallery not`: an operator says whom a face does not show."""

from pathlib import Path

from services.archive.store import Archive
from services.contracts.errors import BadInput
from services.enrolment import Enroller
from services.gallery.store import Gallery
from services.perception.evidence import open_evidence
from services.settings import read_settings

# The probe is pooled of a track's faces; its best few lie nearest to it.
_FACES = 5


def deny_event(gallery: Gallery, subject_id: str, event_id: str) -> int:
    """The person of an event is not this subject.

    Returns:
        How many faces of theirs were kept as a warning.

    Raises:
        BadInput: There is no such event, its evidence is gone, or no usable face was seen.
    """
    settings = read_settings()
    archive = Archive(settings.archive)
    sighting = archive.find_event(event_id)
    bundles = [each for record in archive.find_analyses(analysis_id=sighting.analysis_id) for each in record.evidence]
    if not bundles:
        raise BadInput(f"the evidence of event {event_id} is not on record: analyse {sighting.clip.uri} again")
    with open_evidence(bundles[0].uri, bundles[0].sha256) as evidence:
        crops = evidence.faces(sighting.event.track_id)
    crops = sorted(crops, key=lambda crop: -crop.quality.overall)[:_FACES]
    faces = Enroller.load(settings).embed_crops("", crops, source_sha256=sighting.event.clip_id)
    if not faces:
        raise BadInput(f"no usable face was seen in event {event_id}: give a picture with --image")
    gallery.deny(subject_id, faces, remark=f"event {sighting.event.event_id[:12]}")
    return len(faces)


def deny_picture(gallery: Gallery, subject_id: str, path: Path) -> int:
    """The person on a picture is not this subject; gives how many faces were kept as a warning."""
    faces = Enroller.load(read_settings()).make_templates("", path)
    gallery.deny(subject_id, faces, remark=path.name)
    return len(faces)
