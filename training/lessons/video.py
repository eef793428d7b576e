"""VideoLesson: strips of pictures, each with the action it shows; cut anew every time, played slower and faster, mixed.

Shape legend as in training/networks/video.py; B strips of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.config import LearnVideoParams
from training.datasets.augmentation import augment
from training.datasets.sampling import draw_balanced, draw_by_rarest
from training.fit import Lesson
from training.networks.video import VideoNetwork
from training.objectives.classification import EXCLUSIVE, OVERLAPPING

_VALIDATED_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class StripSet:
    """N strips, of any lengths.

    Attributes:
        pictures: (T, S, S, 3) uint8 each.
        actions: (N,) int64; where actions overlap (N, K) bool.
        step: Pictures of a strip for each of a window's. With more than one a strip can be played a little slower or
            faster and still show another picture every time.
    """

    pictures: Sequence[NDArray[np.uint8]]
    actions: NDArray[np.int64] | NDArray[np.bool_]
    step: int

    def __len__(self) -> int:
        return len(self.pictures)

    def select(self, rows: NDArray[np.int64]) -> "StripSet":
        """Some of them."""
        return StripSet([self.pictures[row] for row in rows], self.actions[rows], self.step)

    def targets(self, classes: int) -> Tensor:
        """(N, K) float: one for what is done."""
        actions = torch.from_numpy(self.actions)
        return (functional.one_hot(actions, classes) if self.exclusive else actions).float()

    @property
    def exclusive(self) -> bool:
        """Whether one action is done at a time."""
        return self.actions.ndim == 1

    def cut(self, rows: Sequence[int], frames: int, speeds: Sequence[float], places: Sequence[float]) -> Tensor:
        """A window of each of some strips: (N, frames, S, S, 3) uint8; a strip's last picture is held.

        Args:
            rows: Which strips.
            frames: Of a window.
            speeds: They are played at; 1 is as it was.
            places: Where in what room there is they begin, 0 to 1.
        """
        windows = []
        for row, speed, place in zip(rows, speeds, places, strict=True):
            strip = self.pictures[row]
            room = max(len(strip) - 1 - self.step * speed * (frames - 1), 0.0)
            shown_T = np.rint(place * room + self.step * speed * np.arange(frames)).astype(int)
            windows.append(strip[shown_T.clip(max=len(strip) - 1)])
        return torch.from_numpy(np.stack(windows))


class VideoLesson(Lesson):
    """A network learns actions from strips, perhaps with a teacher's answers beside the truth."""

    def __init__(
        self,
        network: VideoNetwork,
        train: StripSet,
        params: LearnVideoParams,
        *,
        classes: int,
        validation: StripSet | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        """Bring them together.

        Args:
            network: Answers logits (N, K) for uint8 windows (N, T, S, S, 3).
            train: What it learns from.
            params: The recipe.
            classes: K.
            validation: Decides which epoch is kept. None keeps the last: where clips are few there are none to spare,
                and those left out to be rated must not choose.
            teacher: Asked about every batch, where the recipe gives imitation a share; neither trained nor saved.
        """
        super().__init__()
        self.network = network
        self.register_buffer("epochs_begun", torch.zeros((), dtype=torch.int64))
        self._train, self._validation, self._params, self._classes = train, validation, params, classes
        self._target_NK = train.targets(classes)
        self._objective = EXCLUSIVE if train.exclusive else OVERLAPPING
        # In a list, so that torch does not take it for a part of the lesson.
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher is not None and params.imitation else []
        if params.clip_value is not None:
            clamp = partial(torch.clamp, min=-params.clip_value, max=params.clip_value)
            for parameter in network.parameters():
                parameter.register_hook(clamp)  # type: ignore[no-untyped-call]  # torch's own

    def draw_epoch(self, generator: torch.Generator) -> Tensor:
        """Rows of an epoch; what was frozen thaws when its time has come."""
        for stage in self.network.stages():
            stage.requires_grad_(requires_grad=True)
        for stage in self._frozen_stages():
            stage.requires_grad_(requires_grad=False)
        self.get_buffer("epochs_begun").add_(1)
        if self._params.balanced and self._train.exclusive:
            return draw_balanced(self._target_NK.argmax(dim=1), generator)
        if self._params.balanced:
            return draw_by_rarest(self._target_NK > 0, generator)
        return torch.randperm(len(self._train), generator=generator)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As any module; a memory layout of pictures (`fit` asks for one) is none for weights with a time axis."""
        if kwargs.pop("memory_format", None) is not None and not (args or kwargs):
            return self
        return super().to(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Frozen stages keep the statistics they have, too."""
        super().train(mode)
        if mode:
            for stage in self.network.stages():
                if not any(parameter.requires_grad for parameter in stage.parameters()):
                    stage.eval()
        return self

    def forward(self, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        """Mean loss of some strips, freshly cut, augmented and mixed."""
        params = self._params
        draw_2B = torch.rand(2, len(rows_B), generator=generator)
        speed_B = params.slowest + (params.fastest - params.slowest) * draw_2B[0]
        rgb_BTHWC = self._train.cut(rows_B.tolist(), params.window.frames, speed_B.tolist(), draw_2B[1].tolist())
        rgb_BTHWC, _ = augment(rgb_BTHWC, torch.zeros(*rgb_BTHWC.shape[:2], 5), params.augmentation, generator)
        target_BK = self._target_NK[rows_B]
        if params.mixing != "none":
            rgb_BTHWC, target_BK = mix(rgb_BTHWC, target_BK, params.mixing, params.mixing_alpha, generator)
        target_BK = self._objective.smooth(target_BK, params.label_smoothing).to(self.device)
        with self.autocast(params.precision):
            logits_BK = self.network(rgb_BTHWC.to(self.device))
        loss = self._objective.loss(logits_BK.float(), target_BK, params.focus)
        if self._teacher:
            with torch.no_grad():
                taught_BK = self._teacher[0](rgb_BTHWC.to(self.device)).float()
            taught = self._objective.imitation(logits_BK.float(), taught_BK, params.imitation_temperature)
            loss = (1 - params.imitation) * loss + params.imitation * taught
        return loss

    def validate(self) -> dict[str, float]:
        """Loss in the middle of the validation strips, and how often what is likeliest is done.

        Without any each epoch is better than the last.
        """
        if self._validation is None:
            return {"validation_loss": -float(self.get_buffer("epochs_begun"))}
        self.network.eval()
        logits = []
        with torch.inference_mode():
            for start in range(0, len(self._validation), _VALIDATED_AT_ONCE):
                rows = range(start, min(start + _VALIDATED_AT_ONCE, len(self._validation)))
                ones, halves = [1.0] * len(rows), [0.5] * len(rows)
                rgb_BTHWC = self._validation.cut(rows, self._params.window.frames, ones, halves)
                logits.append(self.network(rgb_BTHWC.to(self.device)).float().cpu())
        logits_NK, target_NK = torch.cat(logits), self._validation.targets(self._classes)
        return {
            "validation_loss": self._objective.loss(logits_NK, target_NK, 0.0).item(),
            "validation_accuracy": target_NK.gather(1, logits_NK.argmax(1, keepdim=True)).double().mean().item(),
        }

    def _frozen_stages(self) -> list[nn.Module]:
        params = self._params
        if params.trained_stages is None or int(self.get_buffer("epochs_begun")) >= params.thawed_epoch:
            return []
        return self.network.stages()[: -params.trained_stages]


def mix(
    rgb_NTHWC: Tensor,
    target_NK: Tensor,
    how: Literal["mixup", "cutmix"],
    alpha: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Mix every window with another of the batch: whole pictures (mixup), or one box through all times (cutmix).

    Targets are mixed by the share of pixels each gave.

    Source: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (cutmix).
    """
    count, _, height, width, _ = rgb_NTHWC.shape
    partner_N = torch.randperm(count, generator=generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    own_N = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
    others_NTHWC = rgb_NTHWC[partner_N]
    if how == "mixup":
        own = own_N[:, None, None, None, None]
        mixed_NTHWC = (rgb_NTHWC.float() * own + others_NTHWC.float() * (1 - own)).round().to(torch.uint8)
    else:
        corner_N2 = torch.rand(count, 2, generator=generator)
        mixed_NTHWC = rgb_NTHWC.clone()
        for row in range(count):
            side = float((1 - own_N[row]).sqrt())
            tall, wide = int(side * height), int(side * width)
            top, left = int(corner_N2[row, 0] * (height - tall + 1)), int(corner_N2[row, 1] * (width - wide + 1))
            box = (row, slice(None), slice(top, top + tall), slice(left, left + wide))
            mixed_NTHWC[box] = others_NTHWC[box]
            own_N[row] = 1 - tall * wide / (height * width)
    return mixed_NTHWC, own_N[:, None] * target_NK + (1 - own_N[:, None]) * target_NK[partner_N]
