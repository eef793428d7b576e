"""Networks that learn from clips by gradient: measured on groups left out, every trained one kept and found again.

Shape legend: N clips · V strips, one for each square of a clip · W windows · K actions.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from services.contracts.card import WindowSpec
from services.contracts.errors import BadInput
from training.clips.learn import FollowPeople, Learned, LeftOut, calibrate, request_squares
from training.clips.manifest import LabelledSpan
from training.clips.reader import CACHE, StripReader
from training.clips.views import cut_strip
from training.config import LearnClipsParams, LearnVideoParams
from training.datasets.windows import WindowSet
from training.fit import Epoch, fit
from training.lessons.video import StripSet, VideoLesson
from training.networks.video import RESIDUAL_KINDS, VideoKind, VideoNetwork, make_video_network

KEPT = CACHE / "networks"
# Pictures of a strip for each of a window's: played a little slower or faster it still shows another one every time.
_OVERSAMPLING = 2
_ANSWERED_AT_ONCE = 16

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Windows (W, T, S, S, 3) to logits (W, K)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is made.

    Attributes:
        kind: Of the network.
        params: Of its family.
        pretrained: Weights to begin with: what `pretrain` wrote, or torchvision's own; None begins from scratch.
        teacher: How the network is made that it imitates, from the same clips; None: nobody is imitated.
    """

    kind: VideoKind
    params: LearnVideoParams
    pretrained: Path | None = None
    teacher: "Recipe | None" = None

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.kind, "pre-trained" if self.pretrained else "from scratch"]
        return ", ".join(parts + ([f"taught by {self.teacher.name}"] if self.teacher else []))


def make_recipe(
    params: LearnClipsParams,
    kind: VideoKind,
    *,
    pretrained: Path | None = None,
    teacher: Recipe | None = None,
    epochs: int | None = None,
) -> Recipe:
    """The recipe of params.yaml for that kind of network; `epochs` replaces the number that stands there."""
    chosen = params.residual if kind in RESIDUAL_KINDS else params.recurrent
    if epochs is not None:
        chosen = chosen.model_copy(update={"epochs": epochs})
    if pretrained is None:
        # Weights nobody trained are not worth freezing.
        chosen = chosen.model_copy(update={"trained_stages": None, "thawed_epoch": 0})
    return Recipe(kind, chosen, pretrained, teacher)


def window_for(params: LearnVideoParams, task_window: WindowSpec) -> WindowSpec:
    """A network's own window, of what is viewed for a task."""
    return params.window.model_copy(update={"view": task_window.view})


@dataclass(frozen=True, slots=True, eq=False)
class ClipStrips:
    """Strips of labelled clips.

    Attributes:
        strips: V of them; each has what its clip shows.
        clip_of_strip: (V,) int64; every clip has one.
        actions: (N,) int64; where actions overlap (N, K) bool.
        groups: (N,) str.
        classes: K.
        window: What a network is shown of them.
    """

    strips: StripSet
    clip_of_strip: NDArray[np.int64]
    actions: NDArray[np.int64] | NDArray[np.bool_]
    groups: NDArray[np.str_]
    classes: int
    window: WindowSpec

    @property
    def single_actions(self) -> NDArray[np.int64]:
        """(N,): of clips that show one action each."""
        return self.actions.astype(np.int64)

    def of(self, clips: NDArray[np.int64]) -> StripSet:
        """The strips of some clips."""
        return self.strips.select(np.flatnonzero(np.isin(self.clip_of_strip, clips)))

    def select(self, clips: NDArray[np.int64]) -> "ClipStrips":
        """Some clips, in ascending order."""
        shown_V = self.clip_of_strip[np.isin(self.clip_of_strip, clips)]
        return replace(
            self,
            strips=self.of(clips),
            clip_of_strip=np.searchsorted(clips, shown_V),
            actions=self.actions[clips],
            groups=self.groups[clips],
        )


def read_clip_strips(
    spans: Sequence[LabelledSpan],
    folder: Path,
    actions: Sequence[str],
    window: WindowSpec,
    reader: StripReader,
    follow: FollowPeople,
    *,
    exclusive: bool = True,
) -> ClipStrips:
    """Read every clip's squares once.

    Args:
        spans: Checked; one action each where they exclude each other.
        folder: Clips are relative to it.
        actions: Of the label space, in the network's order.
        window: What a network is shown; strips hold more pictures than it shows.
        reader: Decodes strips, and finds them again.
        follow: Asked only where surroundings are viewed.
        exclusive: Whether one action is done at a time.
    """
    finer = window.model_copy(update={"rate_hz": _OVERSAMPLING * window.rate_hz})
    requests, clips = request_squares(spans, folder, finer, follow)
    pictures = list(reader.read(requests))
    done: NDArray[np.int64] | NDArray[np.bool_]
    if exclusive:
        done = np.array([actions.index(span.actions[0]) for span in spans])
    else:
        done = np.array([[action in span.actions for action in actions] for span in spans])
    clip_V = np.array(clips)
    return ClipStrips(
        StripSet(pictures, done[clip_V], _OVERSAMPLING),
        clip_V,
        done,
        np.array([span.group for span in spans]),
        len(actions),
        window,
    )


def learn_network(clips: ClipStrips, recipe: Recipe, left_out: LeftOut, *, kept: Path) -> Learned:
    """Learn from all clips, in the way that was measured on groups left out."""
    return Learned(
        network=train_network(clips, np.arange(len(clips.actions)), recipe, kept=kept),
        left_out=left_out,
        people_logits=np.zeros((0, clips.classes)),
        people_clips=np.zeros(0, np.int64),
    )


def leave_networks_out(
    clips: ClipStrips,
    recipe: Recipe,
    *,
    folds: int,
    kept: Path,
    engine: Callable[[VideoNetwork, StripSet], Answer] | None = None,
    dealing: int | None = None,
) -> LeftOut:
    """What `rate_left_out` gives, as probabilities of actions that exclude each other."""
    logits_NK = rate_left_out(clips, recipe, folds=folds, kept=kept, engine=engine, dealing=dealing)
    return calibrate(logits_NK, clips.single_actions, clips.groups)


def rate_left_out(
    clips: ClipStrips,
    recipe: Recipe,
    *,
    folds: int,
    kept: Path,
    engine: Callable[[VideoNetwork, StripSet], Answer] | None = None,
    dealing: int | None = None,
) -> NDArray[np.float64]:
    """Logits (N, K) of every clip, by a network that met no clip of its group.

    Args:
        clips: To learn from and to rate.
        recipe: How; nothing in it may come from the clips that are left out.
        folds: Parts the groups are dealt into: a training each.
        kept: Folder of trained networks, by what they were made from; may be deleted at any time.
        engine: Makes what answers of a trained network and the strips it learned from; None asks the network itself.
        dealing: Decides which groups go together; None is the recipe's seed.
    """
    dealer = np.random.default_rng(recipe.params.seed if dealing is None else dealing)
    names = dealer.permutation(np.unique(clips.groups))
    if not 2 <= folds <= len(names):
        raise BadInput(f"{folds} folds of {len(names)} groups: there must be at least 2 and no more than groups")
    logits_NK = np.zeros((len(clips.actions), clips.classes))
    for part in range(folds):
        outside_N = np.isin(clips.groups, names[part::folds])
        inside = np.flatnonzero(~outside_N)
        network = train_network(clips, inside, recipe, kept=kept, title=f"fold {part + 1}/{folds}")
        answer = ask(network) if engine is None else engine(network, clips.of(inside))
        logits_NK[outside_N] = rate_clips(answer, clips.select(np.flatnonzero(outside_N)))
    return logits_NK


def train_network(
    clips: ClipStrips, rows: NDArray[np.int64], recipe: Recipe, *, kept: Path, title: str = "all clips"
) -> VideoNetwork:
    """A network learned from some clips, in evaluation mode; one made before from the same is found again."""
    teacher = train_network(clips, rows, recipe.teacher, kept=kept, title=title) if recipe.teacher else None
    strips = clips.of(rows)
    path = kept / f"{_fingerprint(recipe, strips)}.safetensors"
    if path.is_file():
        network = _make(recipe, clips.classes)
        network.load_state_dict(load_file(path))
        return network.eval()
    torch.set_num_threads(recipe.params.threads)
    network = _make(recipe, clips.classes)
    lesson = VideoLesson(network, strips, recipe.params, classes=clips.classes, teacher=teacher)
    _fit(lesson, recipe, path, title)
    return network.eval()


def pretrain(train: WindowSet, validation: WindowSet, recipe: Recipe, *, each: int, out: Path, kept: Path) -> Epoch:
    """Learn what people do in prepared windows, and leave the trunk's weights, the classifier taken off.

    Args:
        train: Windows with actions; others are left out.
        validation: Of other people; decides which epoch is kept.
        recipe: The network reads as many pictures as these windows have, scaled to its own side.
        each: Windows drawn of each action (or all there are), and a quarter as many to validate on.
        out: A safetensors file, good for `Recipe.pretrained`.
        kept: Folder of checkpoints.

    Returns:
        The epoch that was kept.
    """
    frames = train.shown.shape[1]
    params = recipe.params.model_copy(update={"window": recipe.params.window.model_copy(update={"frames": frames})})
    recipe = replace(recipe, params=params)
    torch.set_num_threads(params.threads)
    rng = np.random.default_rng(params.seed)
    sides = [
        _draw_windows(side, count, params.window.size_px, rng)
        for side, count in ((train, each), (validation, max(1, each // 4)))
    ]
    network = _make(recipe, len(train.classes))
    lesson = VideoLesson(network, sides[0], params, classes=len(train.classes), validation=sides[1])
    path = kept / f"{_fingerprint(recipe, sides[0])}.safetensors"
    history = _fit(lesson, recipe, path, "pre-training")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.trunk.state_dict().items()}, out)
    return min(history, key=lambda epoch: epoch.validation_loss)


def ask(network: VideoNetwork) -> Answer:
    """A trained network answers itself."""

    def answer(windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            device = next(network.parameters()).device
            logits: NDArray[np.float32] = network(torch.from_numpy(windows).to(device)).float().cpu().numpy()
        return logits

    network.eval()
    return answer


def rate_clips(answer: Answer, clips: ClipStrips) -> NDArray[np.float64]:
    """Logits (N, K): for each clip the mean over its strips."""
    logits_VK = rate_strips(answer, clips.strips, clips.window).astype(np.float64)
    return np.stack([logits_VK[clips.clip_of_strip == clip].mean(axis=0) for clip in range(len(clips.actions))])


def rate_strips(answer: Answer, strips: StripSet, window: WindowSpec) -> NDArray[np.float32]:
    """Logits (V, K): for each strip the mean over its windows, those that are cut when a clip is recognised.

    Source: Wang et al. 2016, arXiv:1608.00859 (consensus before the softmax).
    """
    cut = [cut_strip(strip[:: strips.step], window) for strip in strips.pictures]
    together = np.concatenate(cut)
    starts = range(0, len(together), _ANSWERED_AT_ONCE)
    logits_WK = np.concatenate([answer(together[start : start + _ANSWERED_AT_ONCE]) for start in starts])
    ends = np.cumsum([len(windows) for windows in cut])
    return np.stack([part.mean(axis=0) for part in np.split(logits_WK, ends[:-1])])


def _make(recipe: Recipe, classes: int) -> VideoNetwork:
    params = recipe.params
    torch.manual_seed(params.seed)
    network = make_video_network(recipe.kind, params.network, classes=classes, size_px=params.window.size_px)
    if recipe.pretrained is not None:
        network.load_trunk(recipe.pretrained)
    return network


def _fit(lesson: VideoLesson, recipe: Recipe, path: Path, title: str) -> list[Epoch]:
    params = recipe.params

    def report(epoch: Epoch) -> None:
        measures = ", ".join(f"{name} {value:.3f}" for name, value in epoch.measures.items() if value >= 0)
        sys.stderr.write(
            f"{recipe.name}, {title}: epoch {epoch.epoch + 1}/{params.epochs}: loss {epoch.train_loss:.3f} {measures}\n"
        )

    checkpoint = path.with_suffix(".checkpoint")
    history = fit(lesson, params, checkpoint=checkpoint, fingerprint=path.stem, report=report)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in lesson.network.state_dict().items()}, partial)
    partial.replace(path)
    return history


def _fingerprint(recipe: Recipe, strips: StripSet) -> str:
    """Of everything a training depends on."""
    digest = hashlib.sha256()
    step: Recipe | None = recipe
    while step is not None:
        digest.update(f"{step.kind} {step.params.model_dump_json()}".encode())
        if step.pretrained is not None and step.pretrained.is_file():
            digest.update(step.pretrained.read_bytes())
        step = step.teacher
    digest.update(strips.actions.tobytes())
    for pictures in strips.pictures:
        digest.update(str(pictures.shape).encode())
        digest.update(pictures.tobytes())
    return digest.hexdigest()[:32]


def _draw_windows(windows: WindowSet, each: int, size_px: int, rng: np.random.Generator) -> StripSet:
    rows = np.sort(
        np.concatenate(
            [
                rng.permutation(np.flatnonzero(windows.actions == action))[:each]
                for action in range(len(windows.classes))
            ]
        )
    )
    pictures = []
    for row in rows:
        rgb_TCHW = torch.from_numpy(windows.pictures[windows.shown[row]]).permute(0, 3, 1, 2).float()
        scaled_TCHW = functional.interpolate(rgb_TCHW, (size_px, size_px), mode="bilinear", antialias=True)
        pictures.append(scaled_TCHW.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())
    return StripSet(pictures, windows.actions[rows], 1)
