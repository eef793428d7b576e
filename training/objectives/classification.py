"""Classification: losses over logits and soft targets, and imitation of another network's answers.

Classes exclude each other, or each is a question of its own; `EXCLUSIVE` and `OVERLAPPING` hold what belongs together.

Shape legend: N windows · K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

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


def binary_focal_loss(logits_NK: Tensor, target_NK: Tensor, focus: float) -> Tensor:
    """Cross-entropy of every class by itself, summed over classes; what is already right counts less, as above.

    With `focus` 0 it is plain binary cross-entropy.

    Source: Lin et al. 2017, arXiv:1708.02002.
    """
    done_NK, undone_NK = functional.logsigmoid(logits_NK), functional.logsigmoid(-logits_NK)
    if focus:
        # Each is the other's complement, so no difference is taken that could be a hair below zero.
        done_NK, undone_NK = undone_NK.exp() ** focus * done_NK, done_NK.exp() ** focus * undone_NK
    return -(target_NK * done_NK + (1 - target_NK) * undone_NK).sum(dim=1).mean()


def smooth_truths(target_NK: Tensor, smoothing: float) -> Tensor:
    """Take a share of the certainty away from every class, done or not."""
    return target_NK * (1 - smoothing) + smoothing / 2


def binary_imitation_loss(logits_NK: Tensor, taught_NK: Tensor, temperature: float) -> Tensor:
    """How far each softened answer is from the teacher's (Kullback-Leibler), summed over classes, scaled as above."""
    own_NK, teacher_NK = logits_NK / temperature, taught_NK / temperature
    gap_NK = functional.logsigmoid(teacher_NK) - functional.logsigmoid(own_NK)
    other_gap_NK = functional.logsigmoid(-teacher_NK) - functional.logsigmoid(-own_NK)
    chance_NK = teacher_NK.sigmoid()
    return (chance_NK * gap_NK + (1 - chance_NK) * other_gap_NK).sum(dim=1).mean() * temperature**2


@dataclass(frozen=True, slots=True)
class Objective:
    """What is asked of a network's logits.

    Attributes:
        smooth: Targets and a share of certainty to take away, to targets.
        loss: Of logits, targets and the focal exponent.
        imitation: Loss of logits, a teacher's logits and a temperature.
    """

    smooth: Callable[[Tensor, float], Tensor]
    loss: Callable[[Tensor, Tensor, float], Tensor]
    imitation: Callable[[Tensor, Tensor, float], Tensor]


EXCLUSIVE = Objective(smooth_targets, focal_loss, imitation_loss)
OVERLAPPING = Objective(smooth_truths, binary_focal_loss, binary_imitation_loss)
