"""Faces become embeddings, through the champion embedder and its own card's chip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import FaceChipSpec, IdentificationCalibration, ModelCard
from services.contracts.clip import ModelRef
from services.contracts.errors import MissingModel
from services.models.engine import Network, load_network
from services.models.store import ModelStore
from services.perception.align import align_face
from services.perception.frame import Picture

_BATCH = 16


@dataclass(frozen=True, slots=True)
class FaceEmbedder:
    """A network that turns aligned faces into directions.

    Attributes:
        card: What it is, how it wants its chips, and where a match begins.
        network: Its weights, verified.
    """

    card: ModelCard
    network: Network

    @classmethod
    def load(cls, store: ModelStore, *, device: str, reference: str | None = None) -> "FaceEmbedder":
        """The champion of face embedding, or another model by name.

        Raises:
            MissingModel: None is installed, or its weights are not the ones the card names.
        """
        model = store.champion("face_embedding") if reference is None else store.find(reference)
        return cls(model.card, load_network(model.card, model.weights_path, device=device))

    @property
    def reference(self) -> ModelRef:
        """Which exact weights speak."""
        return ModelRef(name=self.card.name, version=self.card.version, sha256=self.card.weights.sha256)

    @property
    def chip(self) -> FaceChipSpec:
        """How a face is cut."""
        assert self.card.chip is not None  # the card's validator
        return self.card.chip

    @property
    def space(self) -> str:
        """The embedding space."""
        assert self.card.embedding is not None  # the card's validator
        return self.card.embedding.space

    @property
    def calibration(self) -> IdentificationCalibration:
        """Where a match begins.

        Raises:
            MissingModel: The card has no calibration, so no similarity may name anyone.
        """
        if self.card.identification is None:
            raise MissingModel(
                f"{self.card.name}@{self.card.version} has no calibrated threshold: "
                "run `python -m training.metrics.identification` and put its record in the card"
            )
        return self.card.identification

    def embed(self, faces: Sequence[tuple[Picture, NDArray[np.float32]]]) -> NDArray[np.float32]:
        """Align and embed faces.

        Args:
            faces: Pictures, RGB uint8 (H, W, 3), each with the (5, 2) landmarks of one face in it.

        Returns:
            (N, D) float32, rows of unit norm, in the order given.

        Raises:
            AlignmentFailed: A face's landmarks coincide.
        """
        assert self.card.embedding is not None
        vectors = [np.empty((0, self.card.embedding.dimension), np.float32)]
        for start in range(0, len(faces), _BATCH):
            chips = [
                align_face(picture, landmarks, self.chip).to_input(self.chip)
                for picture, landmarks in faces[start : start + _BATCH]
            ]
            answer = self.network.run(np.stack(chips))["embeddings"]
            vectors.append(answer / np.linalg.norm(answer, axis=1, keepdims=True))
        return np.concatenate(vectors)
