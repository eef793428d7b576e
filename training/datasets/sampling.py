"""Which windows, and which faces, an epoch sees."""

import math

import torch
from torch import Tensor


def draw_balanced(action_N: Tensor, generator: torch.Generator) -> Tensor:
    """Draw N rows with replacement, every class equally likely however rare.

    Args:
        action_N: (N,) int64, none negative.
        generator: Its state decides the draw.

    Returns:
        (N,) int64 rows.
    """
    counts_K = torch.bincount(action_N).float()
    return torch.multinomial(1 / counts_K[action_N], len(action_N), replacement=True, generator=generator)


def draw_by_rarest(is_done_NK: Tensor, generator: torch.Generator) -> Tensor:
    """Draw N rows with replacement where several classes may hold in a row: each as likely as its rarest class is rare.

    Args:
        is_done_NK: (N, K) bool; every row has one.
        generator: Its state decides the draw.

    Returns:
        (N,) int64 rows.

    Source: Gupta et al. 2019, arXiv:1908.03195 (repeat-factor sampling takes a picture's rarest class, too).
    """
    rarity_NK = is_done_NK / is_done_NK.sum(dim=0).clamp(min=1)
    return torch.multinomial(rarity_NK.amax(dim=1), len(is_done_NK), replacement=True, generator=generator)


def draw_subjects(class_N: Tensor, subjects: int, pictures: int, generator: torch.Generator) -> Tensor:
    """Order rows so that every `subjects` times `pictures` of them hold that many subjects with as many pictures each.

    An epoch meets about as many rows as there are; subjects come in turn, however many pictures they have, and
    those with too few repeat them.

    Args:
        class_N: (N,) int64, the subject of each row.
        subjects: P, in a batch; fewer when there are not so many.
        pictures: K, of each.
        generator: Its state decides the draw.

    Returns:
        (about N,) int64 rows, whole batches.
    """
    by_subject = [torch.nonzero(class_N == subject).flatten() for subject in torch.unique(class_N)]
    subjects = min(subjects, len(by_subject))
    batches = max(1, round(len(class_N) / (subjects * pictures)))
    rows: list[Tensor] = []
    queue: list[int] = []
    for _ in range(batches):
        if len(queue) < subjects:
            turn = torch.randperm(len(by_subject), generator=generator).tolist()
            # Those still waiting come last in the new turn, or a batch would hold them twice.
            queue += sorted(turn, key=queue.__contains__)
        batch, queue = queue[:subjects], queue[subjects:]
        for subject in batch:
            own = by_subject[subject]
            repeats = math.ceil(pictures / len(own))
            shuffled = torch.cat([own[torch.randperm(len(own), generator=generator)] for _ in range(repeats)])
            rows.append(shuffled[:pictures])
    return torch.cat(rows)
