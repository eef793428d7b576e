"""Learns the parts of a FisherMotion network: codebooks without labels, then a linear layer with them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from torch import Tensor

from training.metrics.recognition import fit_temperature, softmax
from training.networks.motion import KINDS, Codebook, Cuboids, FisherMotion, Motion

_DRAWN_CUBOIDS = 30_000


@dataclass(frozen=True, slots=True)
class FisherParams:
    """What is chosen, not learned.

    Attributes:
        components: Principal components kept of each kind of descriptor.
        gaussians: In the mixture of each kind.
        cuboids: Drawn from each strip to learn the codebooks.
        inverse_penalty: Of the linear layer: larger trusts the clips more.
        seed: Decides every draw.
    """

    components: int = 32
    gaussians: int = 32
    cuboids: int = 150
    inverse_penalty: float = 1.0
    seed: int = 0


class CuboidPool:
    """Moving cuboids drawn from many strips, a few of each, for codebooks."""

    def __init__(self, params: FisherParams) -> None:
        """Start empty."""
        self._params = params
        self._rng = np.random.default_rng(params.seed)
        self._drawn: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in KINDS}
        self._places: list[NDArray[np.float32]] = []

    def add(self, cuboids: Cuboids) -> None:
        """Draw from each window."""
        for window in range(len(cuboids.moving)):
            moving = np.flatnonzero(cuboids.moving[window].numpy())
            drawn = self._rng.permutation(moving)[: self._params.cuboids]
            for kind in KINDS:
                self._drawn[kind].append(cuboids.by_kind[kind][window].numpy()[drawn])
            self._places.append(cuboids.places[window].numpy()[drawn])

    def learn(self) -> dict[str, Codebook]:
        """Principal components and a mixture of Gaussians for each kind; needs no label."""
        return {kind: self._learn(np.concatenate(drawn)) for kind, drawn in self._drawn.items()}

    def _learn(self, descriptors: NDArray[np.float32]) -> Codebook:
        params = self._params
        places = np.concatenate(self._places)
        keep = np.random.default_rng(params.seed).permutation(len(descriptors))[:_DRAWN_CUBOIDS]
        axes = PCA(params.components, random_state=params.seed).fit(descriptors[keep])
        scaled = axes.components_.T / np.sqrt(axes.explained_variance_.mean())
        x = np.concatenate([(descriptors[keep] - axes.mean_) @ scaled, 2 * places[keep]], axis=1)
        mixture = GaussianMixture(
            params.gaussians,
            covariance_type="diag",
            max_iter=20,
            # Few iterations do: the mixture is a partition, not a density anybody reads.
            tol=1e-2,
            init_params="k-means++",
            reg_covar=1e-3,
            random_state=params.seed,
        ).fit(x)
        return Codebook(
            mean=torch.from_numpy(axes.mean_).float(),
            axes=torch.from_numpy(scaled).float(),
            weights=torch.from_numpy(mixture.weights_).float(),
            means=torch.from_numpy(mixture.means_).float(),
            deviations=torch.from_numpy(np.sqrt(mixture.covariances_)).float(),
        )


def embed_motion(network: FisherMotion, motion: Motion) -> NDArray[np.float32]:
    """(2, F): the mean vector over a view's windows, and over their mirror images."""
    with torch.inference_mode():
        both_2F = torch.stack([network.embed(motion).mean(0), network.embed(motion.mirrored()).mean(0)])
    vectors: NDArray[np.float32] = both_2F.numpy()
    return vectors


@dataclass(frozen=True, slots=True, eq=False)
class RatedViews:
    """Fisher vectors of V views of N clips.

    Attributes:
        vectors: (V, 2, F) float32: of each view and its mirror image.
        clip_of_view: (V,) int64; every clip has a view.
        actions: (N,) int64.
        groups: (N,) str.
        followed: (V,) bool: put together from a track's strip, as they are when served. They teach like the
            others, and are rated apart: a clip's answer is that of the views cut from the clip. None: there are none.
    """

    vectors: NDArray[np.float32]
    clip_of_view: NDArray[np.int64]
    actions: NDArray[np.int64]
    groups: NDArray[np.str_]
    followed: NDArray[np.bool_] | None = None

    def learn_head(self, clips: NDArray[np.int64], classes: int, params: FisherParams) -> tuple[Tensor, Tensor]:
        """Weights (K, F) and biases (K,) of a logistic regression on some clips.

        Every action counts alike, and so does every clip, however many views it has; mirror images are examples.

        Raises:
            ValueError: An action has no example.
        """
        views = np.flatnonzero(np.isin(self.clip_of_view, clips))
        actions_V = self.actions[self.clip_of_view[views]]
        if absent := sorted(set(range(classes)) - set(actions_V.tolist())):
            raise ValueError(f"no example of action(s) {absent} of {classes}")
        weight_V = 1 / np.bincount(self.clip_of_view)[self.clip_of_view[views]]
        regression = LogisticRegression(C=params.inverse_penalty, class_weight="balanced", max_iter=300)
        examples = self.vectors[views].reshape(2 * len(views), -1)
        regression.fit(examples, actions_V.repeat(2), sample_weight=weight_V.repeat(2))
        weight_KF, bias_K = regression.coef_, regression.intercept_
        if classes == 2:
            weight_KF, bias_K = np.concatenate([-weight_KF, weight_KF]) / 2, np.concatenate([-bias_K, bias_K]) / 2
        return torch.from_numpy(weight_KF).float(), torch.from_numpy(bias_K).float()

    def rate(self, clips: NDArray[np.int64], weight_KF: Tensor, bias_K: Tensor) -> NDArray[np.float64]:
        """Logits (M, K) of some clips: the mean over their views."""
        return self._answer(self._rate_views(weight_KF, bias_K), clips)

    def leave_groups_out(
        self, classes: int, params: FisherParams, *, folds: int | None = None, seed: int = 0
    ) -> NDArray[np.float64]:
        """Logits (N, K) of every clip by a linear layer that met no clip of its group; see `leave_views_out`."""
        return self.answer(self.leave_views_out(classes, params, folds=folds, seed=seed))

    def answer(self, by_view_VK: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, K): the mean over each clip's views."""
        return self._answer(by_view_VK, np.arange(len(self.actions)))

    def leave_views_out(
        self, classes: int, params: FisherParams, *, folds: int | None = None, seed: int = 0
    ) -> NDArray[np.float64]:
        """Logits (V, K) of every view by a linear layer that met no clip of its group.

        Args:
            classes: K.
            params: Of the linear layer; chosen beforehand, not on what is left out.
            folds: Groups are dealt into so many parts; None leaves out one group at a time.
            seed: Decides the dealing.
        """
        names = np.random.default_rng(seed).permutation(np.unique(self.groups))
        parts = folds or len(names)
        logits_VK = np.zeros((len(self.vectors), classes))
        for part in range(parts):
            outside_N = np.isin(self.groups, names[part::parts])
            weight_KF, bias_K = self.learn_head(np.flatnonzero(~outside_N), classes, params)
            outside_V = outside_N[self.clip_of_view]
            logits_VK[outside_V] = self._rate_views(weight_KF, bias_K)[outside_V]
        return logits_VK

    def _rate_views(self, weight_KF: Tensor, bias_K: Tensor) -> NDArray[np.float64]:
        by_view_VK: NDArray[np.float64] = self.vectors.mean(axis=1) @ weight_KF.numpy().T + bias_K.numpy()
        return by_view_VK

    def _answer(self, by_view_VK: NDArray[np.float64], clips: NDArray[np.int64]) -> NDArray[np.float64]:
        cut_V = np.ones(len(self.vectors), bool) if self.followed is None else ~self.followed
        rows = [by_view_VK[cut_V & (self.clip_of_view == clip)].mean(axis=0) for clip in clips]
        logits_MK: NDArray[np.float64] = np.array(rows, np.float64)
        return logits_MK


def calibrate_left_out(
    logits_NK: NDArray[np.float64], actions_N: NDArray[np.int64], groups_N: NDArray[np.str_]
) -> NDArray[np.float64]:
    """Probabilities (N, K): each group's by the temperature that suits all other groups."""
    probabilities_NK = np.zeros_like(logits_NK)
    for group in np.unique(groups_N):
        inside_N = groups_N == group
        temperature = fit_temperature(logits_NK[~inside_N], actions_N[~inside_N])
        probabilities_NK[inside_N] = softmax(logits_NK[inside_N], temperature)
    return probabilities_NK
