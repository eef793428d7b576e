"""FaceLesson: aligned faces, and who they are."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from training.config import MarginParams, TrainFaceParams
from training.datasets.face_augmentation import augment_faces, crop_chips
from training.datasets.face_chips import FaceChips
from training.datasets.sampling import draw_balanced, draw_subjects
from training.fit import Lesson
from training.objectives.adversarial import perturb
from training.objectives.collapse import refuse_collapse
from training.objectives.margins import AdaFace, ArcFace, CosFace, MarginHead, Softmax, SphereFace
from training.objectives.teaching import CompatibleHead, class_centres, distillation_loss, relation_loss
from training.objectives.triplets import TripletObjective


class FaceLesson(Lesson):
    """A weighted sum of objectives on augmented faces; validated by telling pairs of other subjects apart."""

    rows_seen: Tensor

    def __init__(
        self,
        network: nn.Module,
        train: FaceChips,
        validation: FaceChips,
        params: TrainFaceParams,
        *,
        teacher_ND: NDArray[np.float32] | None = None,
    ) -> None:
        """Bring a network and its faces together.

        Args:
            network: Chips (B, 3, S, S), 0-255, to embeddings (B, D).
            train: What it learns from.
            validation: Other subjects.
            params: Objectives, sampling, augmentation.
            teacher_ND: The teacher's embedding of every training face, for objectives that need it.

        Raises:
            ValueError: An objective needs a teacher and there is none.
        """
        super().__init__()
        wanted = params.objective
        if teacher_ND is None and (wanted.distillation or wanted.relations or wanted.compatible):
            raise ValueError("distillation, relations and compatible learn from a teacher: set prepare_face.teacher")
        self.network = network
        dimension, classes = params.network.embedding, len(train.subjects)
        self.margin = make_head(wanted.margin, dimension, classes) if wanted.margin else None
        self.triplet = (
            TripletObjective(margin=wanted.triplet.margin, mining=wanted.triplet.mining) if wanted.triplet else None
        )
        self._teacher_ND = None if teacher_ND is None else torch.from_numpy(teacher_ND)
        self._class_N = torch.from_numpy(train.classes)
        self.compatible: CompatibleHead | None = None
        if wanted.compatible and self._teacher_ND is not None:
            centres_KD = class_centres(self._teacher_ND, self._class_N, classes)
            self.compatible = CompatibleHead(CosFace(dimension, classes, scale=16.0, margin=0.2), centres_KD)
        self.register_buffer("rows_seen", torch.zeros((), dtype=torch.int64))
        self._train, self._validation, self._params = train, validation, params

    def draw_epoch(self, generator: torch.Generator) -> Tensor:
        """Rows as `sampling` says."""
        match self._params.sampling:
            case "uniform":
                return torch.randperm(len(self._class_N), generator=generator)
            case "balanced":
                return draw_balanced(self._class_N, generator)
            case "subjects":
                each = self._params.pictures_each
                return draw_subjects(self._class_N, self._params.batch_size // each, each, generator)

    def forward(self, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        """The objectives' weighted sum on some training faces, freshly augmented."""
        canvases = torch.from_numpy(self._train.rows(rows_B.numpy()))
        chips_B3SS = augment_faces(canvases, self._train.chip_px, self._params.augmentation, generator).to(self.device)
        adversary = self._params.adversarial
        if adversary is not None:

            def loss_of(chips: Tensor) -> Tensor:
                return self._objective(self._embed(chips), rows_B)

            chips_B3SS = perturb(
                chips_B3SS, loss_of, epsilon=adversary.epsilon, steps=adversary.steps, generator=generator
            )
        loss = self._objective(self._embed(chips_B3SS), rows_B)
        self.rows_seen += len(rows_B)
        return loss

    def validate(self) -> dict[str, float]:
        """How well pairs of the validation's subjects are told apart: `validation_loss` is 1 minus the area under ROC.

        Raises:
            Collapsed: All faces look alike to the network.
        """
        embeddings_ND = torch.from_numpy(embed_chips(self.network, self._validation))
        spread = refuse_collapse(embeddings_ND, least_spread=self._params.least_spread)
        similarity_P, same_P = pair_up(embeddings_ND.numpy(), self._validation.classes)
        area = float(roc_auc_score(same_P, similarity_P))
        return {"validation_loss": 1 - area, "validation_auc": area, "embedding_spread": spread}

    def _embed(self, chips_B3SS: Tensor) -> Tensor:
        with self.autocast(self._params.precision):
            embeddings_BD: Tensor = self.network(chips_B3SS)
        return embeddings_BD.float()

    def _objective(self, embeddings_BD: Tensor, rows_B: Tensor) -> Tensor:
        wanted, class_B = self._params.objective, self._class_N[rows_B].to(self.device)
        parts = []
        if self.margin is not None and wanted.margin is not None:
            parts.append(wanted.margin.weight * self.margin(embeddings_BD, class_B, margin_share=self._margin_share()))
        if self.triplet is not None and wanted.triplet is not None:
            parts.append(wanted.triplet.weight * self.triplet(embeddings_BD, class_B))
        if self._teacher_ND is not None:
            teacher_BD = self._teacher_ND[rows_B].to(self.device)
            if wanted.distillation:
                parts.append(wanted.distillation * distillation_loss(embeddings_BD, teacher_BD))
            if wanted.relations:
                parts.append(wanted.relations * relation_loss(embeddings_BD, teacher_BD))
        if self.compatible is not None:
            parts.append(wanted.compatible * self.compatible(embeddings_BD, class_B))
        return torch.stack(parts).sum()

    def _margin_share(self) -> float:
        margin = self._params.objective.margin
        if margin is None or margin.warmup_epochs == 0:
            return 1.0
        return min(1.0, int(self.rows_seen) / (margin.warmup_epochs * len(self._class_N)))


def make_head(params: MarginParams, dimension: int, classes: int) -> MarginHead:
    """A margin head as params.yaml describes it."""
    margin, scale, sample = params.margin, params.scale, params.sample
    makers: dict[str, Callable[[], MarginHead]] = {
        "softmax": lambda: Softmax(dimension, classes, scale=scale, sample=sample),
        "sphereface": lambda: SphereFace(dimension, classes, scale=scale, factor=int(margin), sample=sample),
        "cosface": lambda: CosFace(dimension, classes, scale=scale, margin=margin, sample=sample),
        "arcface": lambda: ArcFace(
            dimension, classes, scale=scale, margin_rad=margin, subcentres=params.subcentres, sample=sample
        ),
        "adaface": lambda: AdaFace(dimension, classes, scale=scale, margin_rad=margin, sample=sample),
    }
    return makers[params.kind]()


def embed_chips(network: nn.Module, faces: FaceChips, batch_size: int = 64) -> NDArray[np.float32]:
    """(N, D) embeddings of every face as it is, without gradients or augmentation."""
    network.eval()
    device = next(network.parameters()).device
    answers = []
    with torch.inference_mode():
        for start in range(0, len(faces), batch_size):
            rows = np.arange(start, min(start + batch_size, len(faces)))
            chips_B3SS = crop_chips(torch.from_numpy(faces.rows(rows)), faces.chip_px)
            answers.append(network(chips_B3SS.to(device)).float().cpu().numpy())
    return np.concatenate(answers)


def pair_up(
    embeddings_ND: NDArray[np.float32], class_N: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cosine of every two faces, (N·(N-1)/2,), and whether they show one subject."""
    unit_ND = embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    one, other = np.triu_indices(len(unit_ND), 1)
    return np.einsum("pd,pd->p", unit_ND[one], unit_ND[other]), class_N[one] == class_N[other]
