"""DistillationLesson: a small network learns what a large one says of many views of few faces."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.datasets.face_views import TaughtViews, worsen
from training.fit import Lesson
from training.objectives.collapse import refuse_collapse
from training.objectives.teaching import distillation_loss, relation_loss

_RELATIONS_WEIGHT = 4.0
_BATCH = 64
_LEAST_SPREAD = 0.01


class DistillationLesson(Lesson):
    """The student's embeddings follow the teacher's, less their mean, in length, direction and mutual similarity.

    Faces share most of an embedding: beside the mean, what tells them apart would hardly count.
    """

    mean_D: Tensor  # noqa: N815 (shape letters end tensor names)

    def __init__(self, student: nn.Module, views: TaughtViews, validation: TaughtViews) -> None:
        """Bring both together.

        Args:
            student: Chips (N, 3, S, S), 0-255, to embeddings like the teacher's less their mean.
            views: What it learns from.
            validation: Of other subjects.
        """
        super().__init__()
        self.student = student
        self._views, self._validation = views, validation
        self.register_buffer("mean_D", views.embeddings.mean(0))

    def draw_epoch(self, generator: torch.Generator) -> Tensor:
        """Every view once, shuffled."""
        return torch.randperm(len(self._views), generator=generator)

    def forward(self, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        """How far the student is from the teacher on some views, shown worse than the teacher saw them."""
        shown_B1SS = worsen(self._views.pixels[rows_B].float(), generator)
        made = self.student(shown_B1SS.expand(-1, 3, -1, -1).to(self.device))
        wanted = self._views.embeddings[rows_B].to(self.device) - self.mean_D
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
            parts = [part.float().expand(-1, 3, -1, -1) for part in torch.split(self._validation.pixels, _BATCH)]
            made_ND = torch.cat([self.student(part.to(self.device)).cpu() for part in parts])
        spread = refuse_collapse(made_ND, least_spread=_LEAST_SPREAD)
        cosine = functional.cosine_similarity(made_ND, self._validation.embeddings - self.mean_D.cpu()).mean().item()
        return {"validation_loss": 1 - cosine, "teacher_cosine": cosine, "embedding_spread": spread}
