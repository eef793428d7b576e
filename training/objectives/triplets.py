"""Triplets: a face nearer to another of the same subject than to any of another's, by a margin. Mined in the batch.

Distances are Euclidean, between unit vectors: from 0 to 2. Batches are P subjects × K pictures each.

Source: FaceNet, arXiv:1503.03832 (semi-hard); In Defense of the Triplet Loss, arXiv:1703.07737 (hard, batch-all).
"""

from typing import Literal

from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from torch import Tensor, nn

Mining = Literal["semi_hard", "hard", "all"]


class TripletObjective(nn.Module):
    """The mean over the mined triplets with a loss of max(0, d(anchor, positive) - d(anchor, negative) + margin)."""

    def __init__(self, *, margin: float = 0.3, mining: Mining) -> None:
        """Choose what is mined.

        Args:
            margin: In units of distance.
            mining: "semi_hard": negatives farther than the positive, but within the margin. "hard": each face with
                its farthest positive and nearest negative. "all": every triplet within the margin.
        """
        super().__init__()
        distance = LpDistance()
        self._loss = TripletMarginLoss(margin=margin, distance=distance)
        self._mine: nn.Module
        match mining:
            case "semi_hard":
                self._mine = TripletMarginMiner(margin=margin, type_of_triplets="semihard", distance=distance)
            case "hard":
                self._mine = BatchHardMiner(distance=distance)
            case "all":
                self._mine = TripletMarginMiner(margin=margin, type_of_triplets="all", distance=distance)

    def forward(self, embeddings_BD: Tensor, subject_B: Tensor) -> Tensor:
        """A scalar for embeddings of any length and int64 subjects; 0, with a gradient of 0, where nothing is mined."""
        wide_BD = embeddings_BD if embeddings_BD.dtype.itemsize > 2 else embeddings_BD.float()
        loss: Tensor = self._loss(wide_BD, subject_B, self._mine(wide_BD, subject_B))
        return loss
