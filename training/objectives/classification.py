"""Classification: losses over logits and soft targets, and imitation of another network's answers.

Shape legend: N windows · K classes.
"""

from torch import Tensor
from torch.nn import functional


def focal_loss(logits_NK: Tensor, target_NK: Tensor, focus: float) -> Tensor:
    """Cross-entropy in which what is already right counts less: each term times (1 - p) to the `focus`.

    Source: Lin et al. 2017, arXiv:1708.02002; with `focus` 0, plain cross-entropy of soft targets.
    """
    log_probability_NK = functional.log_softmax(logits_NK, dim=1)
    weight_NK = (1 - log_probability_NK.exp()).clamp(min=0) ** focus if focus else logits_NK.new_ones(logits_NK.shape)
    return -(target_NK * weight_NK * log_probability_NK).sum(dim=1).mean()


def distillation_loss(logits_NK: Tensor, taught_NK: Tensor, temperature: float) -> Tensor:
    """How far the softened answer is from the teacher's, scaled so that gradients keep their size.

    Source: Hinton et al. 2015, arXiv:1503.02531.
    """
    own_NK = functional.log_softmax(logits_NK / temperature, dim=1)
    teacher_NK = functional.softmax(taught_NK / temperature, dim=1)
    return functional.kl_div(own_NK, teacher_NK, reduction="batchmean") * temperature**2
