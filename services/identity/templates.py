"""Templates of faces that were cut out already, and a track's faces as one direction."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.gallery.template import Embedding, Template
from services.identity.decide import MINIMUM_QUALITY
from services.identity.embed import FaceEmbedder
from services.perception.evidence import FaceCrop
from services.perception.frame import Picture


def make_templates(
    embedder: FaceEmbedder, subject_id: str, crops: Sequence[FaceCrop], *, source_sha256: str
) -> list[Template]:
    """One template a face; those too poor for one are left out.

    Args:
        embedder: Of the gallery's space.
        subject_id: Whose faces.
        crops: As the evidence keeps them.
        source_sha256: Of the file they were cut from.
    """
    usable = [crop for crop in crops if crop.quality.overall >= MINIMUM_QUALITY]
    vectors = embedder.embed([(crop.rgb, crop.landmarks_px) for crop in usable])
    return [
        Template(
            subject_id=subject_id,
            embedding=Embedding(vector, embedder.space),
            quality=round(crop.quality.overall, 4),
            chip_png=_encode_png(crop.rgb),
            landmarks_px=crop.landmarks_px,
            source_sha256=source_sha256,
        )
        for crop, vector in zip(usable, vectors, strict=True)
    ]


def pool_templates(templates: Sequence[Template]) -> NDArray[np.float32]:
    """(D,) unit: faces of one person weighed by their quality, as a track's are when it is identified."""
    pooled = np.sum([each.quality * each.embedding.vector for each in templates], axis=0)
    unit: NDArray[np.float32] = (pooled / np.linalg.norm(pooled)).astype(np.float32)
    return unit


def _encode_png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
