"""Template: one face of one enrolled subject, as a point in an embedding space."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A face as a direction.

    Attributes:
        vector: (D,) float32, unit norm.
        space: The embedding space it lies in; cosines across spaces mean nothing.
    """

    vector: NDArray[np.float32]
    space: str

    def __post_init__(self) -> None:
        norm = float(np.linalg.norm(self.vector))
        if self.vector.ndim != 1 or not abs(norm - 1) < 1e-3:
            raise ValueError(f"embedding of shape {self.vector.shape} and norm {norm:.4f}: expected (D,) of norm 1")


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What was kept of one enrolment picture.

    Attributes:
        subject_id: Whose face.
        embedding: Where it lies.
        quality: 0 to 1, of the face it was made from.
        chip_png: The face crop, so that another embedder can be enrolled without the picture.
        landmarks_px: (5, 2) float32, in the crop.
        source_sha256: Of the file it was enrolled from.
        template_id: Digest of subject and vector when first made: enrolling the same picture twice makes one
            template. Kept with what was stored, since a vector read back may differ in its last bits.
    """

    subject_id: str
    embedding: Embedding
    quality: float
    chip_png: bytes
    landmarks_px: NDArray[np.float32]
    source_sha256: str
    template_id: str = ""

    def __post_init__(self) -> None:
        if not self.template_id:
            content = self.subject_id.encode() + b"\0" + self.embedding.vector.astype("<f4").tobytes()
            object.__setattr__(self, "template_id", hashlib.sha256(content).hexdigest())
