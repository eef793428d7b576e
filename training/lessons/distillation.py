"""DistillationLesson: a small network learns what a large one says of views of a few thousand faces."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.datasets.face_augmentation import crop_chips
from training.datasets.face_chips import FaceChips
from training.datasets.face_views import draw_views, worsen
from training.fit import Lesson
from training.objectives.collapse import refuse_collapse
from training.objectives.teaching import distillation_loss, relation_loss

_GREY = (0.299, 0.587, 0.114)
_RELATIONS_WEIGHT = 4.0
_BATCH = 64
_LEAST_SPREAD = 0.01

Teacher = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Chips (N, 3, S, S), 0-255, to embeddings (N, D)."""


class DistillationLesson(Lesson):
    """The student's embeddings follow the teacher's in length, direction and mutual similarity.

    Directions are compared after the mean embedding is taken away: faces share most of theirs, and what tells them
    apart would hardly count beside it.
    """

    mean_D: Tensor  # noqa: N815 (shape letters end tensor names)

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        train: FaceChips,
        validation: FaceChips,
        *,
        student_px: int,
        views_each: int,
    ) -> None:
        """Bring both together.

        Args:
            student: Chips (N, 3, S, S), 0-255, to embeddings like the teacher's.
            teacher: Looks at chips of the side the faces were cut for.
            train: Faces to make views of.
            validation: Faces of other subjects, seen as they are.
            student_px: Side of the student's chips.
            views_each: Of every training face in an epoch.
        """
        super().__init__()
        self.student = student
        self._teacher, self._train, self._validation = teacher, train, validation
        self._student_px, self._views_each = student_px, views_each
        self._clear_N1SS = _clear(validation)
        self._wanted_ND = self._ask(self._clear_N1SS)
        self.register_buffer("mean_D", self._ask(_clear(train)).mean(0))

    def draw_epoch(self, generator: torch.Generator) -> Tensor:
        """Every face as often as it has views, shuffled."""
        return torch.randperm(len(self._train) * self._views_each, generator=generator) % len(self._train)

    def forward(self, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        """How far the student is from the teacher on fresh views of some faces."""
        others_B = torch.randint(len(self._train), (len(rows_B),), generator=generator)
        canvases = (torch.from_numpy(self._train.rows(rows.numpy())) for rows in (rows_B, others_B))
        one, other = (_grey(pixels.permute(0, 3, 1, 2).float()) for pixels in canvases)
        views_B1SS = draw_views(one, other, self._train.chip_px, generator)
        wanted_BD = self._ask(views_B1SS).to(self.device)
        shown_B1SS = worsen(functional.interpolate(views_B1SS, size=self._student_px, mode="area"), generator)
        made_BD = self.student(shown_B1SS.expand(-1, 3, -1, -1).to(self.device))
        made, wanted = made_BD - self.mean_D, wanted_BD - self.mean_D
        error = (made - wanted).square().sum(1).mean() / wanted.square().sum(1).mean()
        loss: Tensor = error + distillation_loss(made, wanted) + _RELATIONS_WEIGHT * relation_loss(made, wanted)
        return loss

    def validate(self) -> dict[str, float]:
        """1 minus the mean cosine with the teacher on faces of other subjects, means taken away.

        Raises:
            Collapsed: All faces look alike to the student.
        """
        self.student.eval()
        with torch.inference_mode():
            small = functional.interpolate(self._clear_N1SS, size=self._student_px, mode="area").expand(-1, 3, -1, -1)
            made_ND = torch.cat([self.student(part.to(self.device)).cpu() for part in _batches(small)])
        mean_D = self.mean_D.cpu()
        spread = refuse_collapse(made_ND - mean_D, least_spread=_LEAST_SPREAD)
        cosine_N = functional.cosine_similarity(made_ND - mean_D, self._wanted_ND - mean_D)
        cosine = cosine_N.mean().item()
        return {"validation_loss": 1 - cosine, "teacher_cosine": cosine, "embedding_spread": spread}

    def _ask(self, views_N1SS: Tensor) -> Tensor:
        parts = [part.expand(-1, 3, -1, -1).contiguous().numpy() for part in _batches(views_N1SS)]
        return torch.from_numpy(np.concatenate([self._teacher(part) for part in parts]))


def _batches(pixels: Tensor) -> list[Tensor]:
    return [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]


def _clear(faces: FaceChips) -> Tensor:
    """(N, 1, S, S) grey chips as they are."""
    return _grey(crop_chips(torch.from_numpy(faces.rows(np.arange(len(faces)))), faces.chip_px))


def _grey(pixels_N3SS: Tensor) -> Tensor:
    return (pixels_N3SS * torch.tensor(_GREY)[:, None, None]).sum(1, keepdim=True).round()
