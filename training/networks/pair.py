"""PairHead: of the people near somebody who pushes, whom they push; or nobody.

Shape legend, at the end of every tensor's name:
    E pushes · P people who could be meant · T moments of a push · F features of a moment
"""

import torch
from torch import Tensor, nn


class PairHead(nn.Module):
    """A conditional choice: what speaks for each person, summed up over time, against a fixed "nobody".

    Every person is weighed by the same small network, so neither their number nor their order matters.

    Source: McFadden 1974 (conditional logit), with a network in place of its linear utility; means over sets as in
        Deep Sets, arXiv:1703.06114.
    """

    def __init__(self, *, features: int, units: int) -> None:
        super().__init__()
        self.moment = nn.Sequential(nn.Linear(features, units), nn.Tanh())
        self.utility = nn.Linear(units, 1)

    def forward(self, features_EPTF: Tensor, seen_EPT: Tensor) -> Tensor:
        """Answer logits (E, P + 1), the last for nobody.

        Args:
            features_EPTF: float32; whatever it holds where a person is not seen is not looked at.
            seen_EPT: bool; people never seen cannot be meant.
        """
        weight_EPT1 = seen_EPT.unsqueeze(-1).float()
        moments_EPTU = self.moment(torch.where(seen_EPT.unsqueeze(-1), features_EPTF, 0.0)) * weight_EPT1
        mean_EPU = moments_EPTU.sum(dim=2) / weight_EPT1.sum(dim=2).clamp(min=1)
        utility_EP = self.utility(mean_EPU).squeeze(-1).masked_fill(~seen_EPT.any(dim=2), -torch.inf)
        return torch.cat([utility_EP, utility_EP.new_zeros(len(utility_EP), 1)], dim=1)


def choice_loss(logits_EQ: Tensor, right_EQ: Tensor) -> Tensor:
    """Mean negative log-probability of choosing any right answer: somebody may be on several tracks.

    Args:
        logits_EQ: As PairHead answers, Q = P + 1.
        right_EQ: bool, at least one a row.
    """
    right_E = logits_EQ.masked_fill(~right_EQ, -torch.inf).logsumexp(dim=1)
    return (logits_EQ.logsumexp(dim=1) - right_E).mean()
