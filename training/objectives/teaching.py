"""Teaching: a new network learns from an older one, to imitate it (distillation) or to stay comparable with it.

Shape legend: B faces · D numbers of an embedding · K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.objectives.margins import MarginHead


def distillation_loss(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Mean of 1 - cosine between the student's embeddings and the teacher's, in the teacher's own space.

    Raises:
        ValueError: They differ in dimension.
    """
    if student_BD.shape != teacher_BD.shape:
        raise ValueError(
            f"student {tuple(student_BD.shape)}, teacher {tuple(teacher_BD.shape)}: imitation needs one dimension"
        )
    return (1 - functional.cosine_similarity(student_BD.float(), teacher_BD.float())).mean()


def relation_loss(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Mean squared difference of the batch's pairwise cosines: the teacher's geometry in a space of one's own.

    Source: Relational Knowledge Distillation, arXiv:1904.05068; Similarity-Preserving KD, arXiv:1907.09682.
    """
    student_BB, teacher_BB = (
        functional.normalize(x.float()) @ functional.normalize(x.float()).T for x in (student_BD, teacher_BD)
    )
    apart_BB = ~torch.eye(len(student_BB), dtype=torch.bool, device=student_BB.device)
    return functional.mse_loss(student_BB[apart_BB], teacher_BB[apart_BB])


class CompatibleHead(nn.Module):
    """The older network's class centres, frozen: a new embedding must be right among them, too.

    What the new network says can then be compared with templates the old one made.

    Source: Backward-Compatible Training, arXiv:2003.11942 (influence loss).
    """

    def __init__(self, head: MarginHead, old_centres_KD: Tensor) -> None:
        """Take a head of the right size and replace its centres.

        Args:
            head: Brings margin and scale; without sub-centres.
            old_centres_KD: The mean embedding of each class in the old space.

        Raises:
            ValueError: The centres do not fit the head.
        """
        super().__init__()
        if head.centres.shape != old_centres_KD.shape:
            raise ValueError(f"head for {tuple(head.centres.shape)}, old centres {tuple(old_centres_KD.shape)}")
        self.head = head
        self.head.centres = nn.Parameter(functional.normalize(old_centres_KD.detach().clone()), requires_grad=False)

    def forward(self, embeddings_BD: Tensor, class_B: Tensor) -> Tensor:
        """Mean cross-entropy among the old centres."""
        loss: Tensor = self.head(embeddings_BD, class_B)
        return loss


def class_centres(embeddings_ND: Tensor, class_N: Tensor, classes: int) -> Tensor:
    """(K, D) unit mean of each class's unit embeddings; a class without any is a zero vector."""
    sums_KD = torch.zeros(classes, embeddings_ND.shape[1], dtype=embeddings_ND.dtype)
    sums_KD.index_add_(0, class_N, functional.normalize(embeddings_ND))
    return functional.normalize(sums_KD)
