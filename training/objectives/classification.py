"""Classification: losses over logits and soft targets, and imitation of another network's answers.

Shape legend: N windows · K classes.
"""

from torch import Tensor
from torch.nn import functional


def focal_loss(logits_NK: Tensor, target_NK: Tensor, focus: float) -> Tensor:
    """Mean cross-entropy in which what is already right counts less: each term times (1 - p) to the `focus`.

    With `focus` 0 it is plain cross-entropy of soft targets.

    Source: Lin et al. 2017, arXiv:1708.02002.
    """
    log_probability_NK = functional.log_softmax(logits_NK, dim=1)
    if not focus:
        return -(target_NK * log_probability_NK).sum(dim=1).mean()
    # A probability of one in float32 may be a hair more: a negative number has no such power, and zero no slope.
    weight_NK = (1 - log_probability_NK.exp()).clamp(min=1e-6) ** focus
    return -(target_NK * weight_NK * log_probability_NK).sum(dim=1).mean()


def smooth_targets(target_NK: Tensor, smoothing: float) -> Tensor:
    """Take a share of the certainty away and spread it over all classes.

    Source: Szegedy et al. 2016, arXiv:1512.00567.
    """
    return target_NK * (1 - smoothing) + smoothing / target_NK.shape[1]


def imitation_loss(logits_NK: Tensor, taught_NK: Tensor, temperature: float) -> Tensor:
    """How far the softened answer is from the teacher's (Kullback-Leibler), scaled so that gradients keep their size.

    Source: Hinton et al. 2015, arXiv:1503.02531.
    """
    own_NK = functional.log_softmax(logits_NK / temperature, dim=1)
    teacher_NK = functional.softmax(taught_NK / temperature, dim=1)
    return functional.kl_div(own_NK, teacher_NK, reduction="batchmean") * temperature**2
