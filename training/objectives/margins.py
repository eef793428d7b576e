"""Margin heads: a class for each training subject, and a margin that makes the right one harder to reach.

All heads share one form: cosines to the class centres, changed for the right class, times a scale, softmax.

Shape legend, at the end of every tensor's name:
    B faces · D numbers of an embedding · K classes · M sub-centres of a class · S sampled classes
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

# Cosines are kept this far from ±1, where the gradient of the arc cosine has no bound.
_EDGE = 1e-7


class MarginHead(nn.Module, ABC):
    """Cosine logits with a margin on the right class; cross-entropy on top.

    With `sample` below 1 a step sees the classes of its batch and random others, that share of all in all: memory
    and time fall with the share, and the loss is that of a softmax over the classes seen.

    Source: Partial FC, arXiv:2203.15565 (sampling of class centres).
    """

    def __init__(self, dimension: int, classes: int, *, scale: float, subcentres: int = 1, sample: float = 1.0) -> None:
        """Centres at random, from torch's own seed.

        Args:
            dimension: D.
            classes: K.
            scale: Of the cosines before the softmax.
            subcentres: Centres a class has; the nearest counts. Source: sub-centre ArcFace, ECCV 2020.
            sample: Share of the classes seen in a step.
        """
        super().__init__()
        self.centres = nn.Parameter(functional.normalize(torch.randn(classes * subcentres, dimension)))
        self.classes, self.scale, self.subcentres, self.sample = classes, scale, subcentres, sample

    @abstractmethod
    def penalise(self, cosine_B: Tensor, norm_B: Tensor) -> Tensor:
        """The right class's cosine with the margin in it, from that cosine and the norms of the embeddings."""

    def forward(self, embeddings_BD: Tensor, class_B: Tensor, *, margin_share: float = 1.0) -> Tensor:
        """Mean cross-entropy.

        Args:
            embeddings_BD: Of any length, any float type.
            class_B: int64, 0 to K - 1.
            margin_share: Of the effect of the margin, 0 to 1, to warm up with.

        Returns:
            A scalar, float32 or float64. No input is changed.
        """
        logits_BS, target_B = self.logits(embeddings_BD, class_B, margin_share=margin_share)
        return functional.cross_entropy(logits_BS, target_B)

    def logits(self, embeddings_BD: Tensor, class_B: Tensor, *, margin_share: float = 1.0) -> tuple[Tensor, Tensor]:
        """Scaled cosines (B, S) with the margin in them, and where in them the right class stands, (B,)."""
        wide_BD = embeddings_BD if embeddings_BD.dtype == torch.float64 else embeddings_BD.float()
        norm_B = wide_BD.norm(dim=1)
        centres, target_B = self._seen_centres(class_B)
        unit_BD = functional.normalize(wide_BD)
        cosine_BS = unit_BD @ functional.normalize(centres.to(wide_BD.dtype)).T
        if self.subcentres > 1:
            cosine_BS = cosine_BS.reshape(len(cosine_BS), -1, self.subcentres).amax(2)
        right_B1 = cosine_BS.gather(1, target_B[:, None])
        clear_B1 = right_B1.clamp(-1 + _EDGE, 1 - _EDGE)
        changed_B1 = self.penalise(clear_B1[:, 0], norm_B)[:, None]
        mixed_B1 = right_B1 + margin_share * (changed_B1 - right_B1)
        return self.scale * cosine_BS.scatter(1, target_B[:, None], mixed_B1), target_B

    def _seen_centres(self, class_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.sample >= 1 or not self.training:
            return self.centres, class_B
        present, target_B = torch.unique(class_B, return_inverse=True)
        wanted = max(math.ceil(self.sample * self.classes), len(present))
        # Distinct others, without a permutation of all classes: draw too many, keep those not there yet.
        drawn = torch.randint(self.classes, (2 * wanted + 16,), device=class_B.device)
        others = torch.unique(drawn[~torch.isin(drawn, present)])
        others = others[torch.randperm(len(others), device=class_B.device)][: wanted - len(present)]
        seen = torch.cat([present, others])
        rows = (seen[:, None] * self.subcentres + torch.arange(self.subcentres, device=seen.device)).flatten()
        return functional.embedding(rows, self.centres), target_B


class Softmax(MarginHead):
    """No margin: normalised softmax."""

    def penalise(self, cosine_B: Tensor, norm_B: Tensor) -> Tensor:
        """The cosine as it is."""
        return cosine_B


class CosFace(MarginHead):
    """An additive margin on the cosine.

    Source: CosFace, arXiv:1801.09414, equation 4.
    """

    def __init__(
        self, dimension: int, classes: int, *, scale: float = 64.0, margin: float = 0.35, sample: float = 1.0
    ) -> None:
        super().__init__(dimension, classes, scale=scale, sample=sample)
        self.margin = margin

    def penalise(self, cosine_B: Tensor, norm_B: Tensor) -> Tensor:
        """cos θ - m."""
        return cosine_B - self.margin


class ArcFace(MarginHead):
    """An additive margin on the angle; beyond π - m it goes on falling, so that no angle is too bad to improve.

    Source: ArcFace, arXiv:1801.07698, equation 3; its public code for angles beyond π - m.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        scale: float = 64.0,
        margin_rad: float = 0.5,
        subcentres: int = 1,
        sample: float = 1.0,
    ) -> None:
        super().__init__(dimension, classes, scale=scale, subcentres=subcentres, sample=sample)
        self.margin_rad = margin_rad

    def penalise(self, cosine_B: Tensor, norm_B: Tensor) -> Tensor:
        """cos(θ + m) up to θ = π - m, from there a line of the same fall."""
        return _add_angle(cosine_B, torch.as_tensor(self.margin_rad, dtype=cosine_B.dtype, device=cosine_B.device))


class SphereFace(MarginHead):
    """A multiplicative margin on the angle, continued so that it falls over all of [0, π].

    Source: SphereFace, arXiv:1704.08063, equation 7; with normalised embeddings as in SphereFace-R, arXiv:2109.05565.
    """

    def __init__(
        self, dimension: int, classes: int, *, scale: float = 30.0, factor: int = 2, sample: float = 1.0
    ) -> None:
        super().__init__(dimension, classes, scale=scale, sample=sample)
        self.factor = factor

    def penalise(self, cosine_B: Tensor, norm_B: Tensor) -> Tensor:
        """(-1)^k cos(mθ) - 2k for θ in [kπ/m, (k+1)π/m]."""
        angle_B = torch.acos(cosine_B)
        k_B = (self.factor * angle_B.detach() / math.pi).floor()
        return (1 - 2 * (k_B % 2)) * torch.cos(self.factor * angle_B) - 2 * k_B


class AdaFace(MarginHead):
    """A margin that asks more of clear faces than of unclear ones, told apart by the norm of their embeddings.

    Source: AdaFace, arXiv:2204.00964, equations 8 to 10.
    """

    norm_mean: Tensor
    norm_deviation: Tensor

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        scale: float = 64.0,
        margin_rad: float = 0.4,
        spread: float = 0.333,
        momentum: float = 0.01,
        sample: float = 1.0,
    ) -> None:
        super().__init__(dimension, classes, scale=scale, sample=sample)
        self.margin_rad, self.spread, self.momentum = margin_rad, spread, momentum
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_deviation", torch.tensor(100.0))

    def penalise(self, cosine_B: Tensor, norm_B: Tensor) -> Tensor:
        """cos(θ - m·clarity) - (m·clarity + m), with clarity in [-1, 1] from running statistics of the norms."""
        norm_B = norm_B.detach().clamp(0.001, 100)
        if self.training:
            self.norm_mean.lerp_(norm_B.mean().to(self.norm_mean), self.momentum)
            self.norm_deviation.lerp_(norm_B.std(correction=min(1, len(norm_B) - 1)).to(self.norm_mean), self.momentum)
        clarity_B = (norm_B - self.norm_mean) / (self.norm_deviation + 1e-3) * self.spread
        clarity_B = clarity_B.clamp(-1, 1).to(cosine_B.dtype)
        angle_B = (torch.acos(cosine_B) - self.margin_rad * clarity_B).clamp(1e-3, math.pi - 1e-3)
        return torch.cos(angle_B) - (self.margin_rad + self.margin_rad * clarity_B)


def _add_angle(cosine_B: Tensor, margin_rad: Tensor) -> Tensor:
    sine_B = (1 - cosine_B**2).sqrt()
    turned_B = cosine_B * torch.cos(margin_rad) - sine_B * torch.sin(margin_rad)
    # Where θ + m passes π the cosine would rise again: there a line takes over that meets it from above.
    line_B = cosine_B - torch.sin(margin_rad) * margin_rad
    return torch.where(cosine_B > -torch.cos(margin_rad), turned_B, line_B)
