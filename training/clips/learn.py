"""Learn: from labelled clips to a network, measured on groups it never met, with its card."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.contracts.card import ActionCalibration, Lineage, ModelCard, Reference, Task, WindowSpec
from services.models.engine import load_network
from services.perception.decode import decode
from services.perception.evidence import Strip
from services.perception.surroundings import cut_surroundings, square_of_surroundings
from training.clips.fisher import CuboidPool, FisherParams, RatedViews, calibrate_left_out, embed_motion
from training.clips.manifest import LabelledSpan
from training.clips.reader import StripReader, StripRequest
from training.clips.views import choose_squares, cut_strip
from training.export import check_parity, describe_weights
from training.metrics.answers import AnswerScores, abstention_threshold, score_answers
from training.metrics.recognition import fit_temperature, softmax
from training.networks.motion import AMOUNTS, Codebook, FisherMotion, MotionField

ENGINES = ("cpu", "onnxruntime-cpu")
PARITY_LIMIT = 2e-2
_PARITY_WINDOWS = 2
_ABSTAINING_SHARE = 0.1
# Somebody is said to do a thing where, of those it would be said of, nine in ten do it.
_LEAST_PRECISION = 0.9
_CHANCES = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_REFERENCE_EDGES = tuple(round(0.1 * step, 1) for step in range(1, 10))
_MINIMUM_SECONDS = 0.5
# Long enough that a push is told from a touch, short enough that a punch is not averaged away.
_SLICE_SECONDS = 0.2

FollowPeople = Callable[[Path], Sequence[Strip]]
"""The strip of everyone followed through a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Answers to clips by networks that met no clip of their group.

    Attributes:
        logits: (N, K) of each clip.
        probabilities: (N, K): those, by a temperature that suits all other groups.
        actions: (N,) int64.
        groups: (N,) str.
        temperature: Fitted to all clips' logits.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    actions: NDArray[np.int64]
    groups: NDArray[np.str_]
    temperature: float

    def scores(self) -> AnswerScores:
        """Of the left-out answers; areas are those of the logits, which one temperature for all leaves in order."""
        ranked = score_answers(softmax(self.logits, self.temperature), self.actions, self.groups)
        calibrated = score_answers(self.probabilities, self.actions, self.groups)
        return replace(
            calibrated, auc=ranked.auc, auc_low=ranked.auc_low, auc_high=ranked.auc_high, mean_ap=ranked.mean_ap
        )


def calibrate(logits_NK: NDArray[np.float64], actions_N: NDArray[np.int64], groups_N: NDArray[np.str_]) -> LeftOut:
    """Left-out logits with the probabilities they mean."""
    return LeftOut(
        logits=logits_NK,
        probabilities=calibrate_left_out(logits_NK, actions_N, groups_N),
        actions=actions_N,
        groups=groups_N,
        temperature=fit_temperature(logits_NK, actions_N),
    )


class Measured(Protocol):
    """A learned network that can fill its card."""

    @property
    def network(self) -> nn.Module:
        """Reads uint8 windows (W, T, S, S, 3), answers logits (W, K)."""

    def calibration(self, actions: Sequence[str], unnamed: Sequence[str]) -> ActionCalibration:
        """What its logits mean; `unnamed` actions make no segment."""

    def reference(self) -> Reference:
        """How sure it was on groups it never met."""

    def measures(self, actions: Sequence[str]) -> dict[str, float]:
        """Left-out figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A network and what was measured without leaks.

    Attributes:
        network: Learned from all clips; reads uint8 windows (W, T, S, S, 3), answers logits (W, K).
        left_out: How networks learned in the same way answered clips they had not met.
        people_logits: (P, K): left-out logits of people as they are served, one a track.
        people_clips: (P,): the clip each is in.
    """

    network: nn.Module
    left_out: LeftOut
    people_logits: NDArray[np.float64]
    people_clips: NDArray[np.int64]

    def scores(self) -> AnswerScores:
        """Of the left-out answers."""
        return self.left_out.scores()

    def people_scores(self) -> AnswerScores | None:
        """Of people as they are served, each taken to do what their clip shows; None where nobody was followed."""
        if not len(self.people_clips):
            return None
        probabilities_PK = softmax(self.people_logits, self.left_out.temperature)
        clips = self.people_clips
        return score_answers(probabilities_PK, self.left_out.actions[clips], self.left_out.groups[clips])

    def calibration(self, actions: Sequence[str], unnamed: Sequence[str]) -> ActionCalibration:
        """One temperature for all, and how sure a segment must be."""
        return ActionCalibration(
            temperature=self.left_out.temperature,
            minimum_probability=choose_minimum_probability(self, [actions.index(each) for each in unnamed]),
            minimum_seconds=_MINIMUM_SECONDS,
            unnamed=tuple(unnamed),
            abstain_below=abstention_threshold(self.left_out.probabilities, _ABSTAINING_SHARE),
        )

    def reference(self) -> Reference:
        """Of the likeliest action."""
        return spread(self.left_out.probabilities.max(axis=1))

    def measures(self, actions: Sequence[str]) -> dict[str, float]:
        """Of clips, and of people as they are served; no action has a figure of its own."""
        del actions
        scores, people = self.scores(), self.people_scores()
        metrics = {
            "clips": float(len(self.left_out.actions)),
            "groups": float(len(np.unique(self.left_out.groups))),
            "left_out_accuracy": scores.top1,
            "left_out_accuracy_low": scores.top1_low,
            "left_out_accuracy_high": scores.top1_high,
            "left_out_mean_class_accuracy": scores.mean_class,
            "left_out_auc": scores.auc,
            "left_out_auc_low": scores.auc_low,
            "left_out_auc_high": scores.auc_high,
            "left_out_calibration_error": scores.calibration_error,
            "left_out_swept_calibration_error": scores.swept_calibration_error,
            "left_out_accuracy_of_surest_nine_tenths": scores.top1_of_surest,
        }
        if people is not None:
            metrics |= {
                "people": float(len(self.people_clips)),
                "left_out_people_accuracy": people.top1,
                "left_out_people_auc": people.auc,
            }
        return metrics


def learn_from_clips(
    spans: Sequence[LabelledSpan],
    folder: Path,
    actions: Sequence[str],
    window: WindowSpec,
    codebooks: dict[str, Codebook],
    reader: StripReader,
    follow: FollowPeople,
    params: FisherParams,
) -> Learned:
    """Learn the linear layer, and measure it leaving out one group at a time.

    Args:
        spans: One action each, checked.
        folder: Clips are relative to it.
        actions: Of the label space, in the network's order.
        window: What a network sees.
        codebooks: Learned without labels, best from other clips: then nothing of a left-out clip was ever seen.
        reader: Decodes strips.
        follow: Asked only where surroundings are viewed.
        params: Chosen beforehand.
    """
    network = FisherMotion(codebooks, classes=len(actions), slice_frames=slice_frames(window))
    vectors, clip_of_view, followed = [], [], []
    for view in _views(spans, folder, window, reader, follow):
        with torch.inference_mode():
            motion = network.motion(torch.from_numpy(view.windows))
        vectors.append(embed_motion(network, motion))
        clip_of_view.append(view.clip)
        followed.append(view.followed)
    views = RatedViews(
        np.stack(vectors),
        np.array(clip_of_view),
        np.array([actions.index(span.actions[0]) for span in spans]),
        np.array([span.group for span in spans]),
        np.array(followed),
    )
    return fit_head(network, views, len(actions), params)


def fit_head(network: FisherMotion, views: RatedViews, classes: int, params: FisherParams) -> Learned:
    """Scale the amounts, measure without leaks, and learn from all.

    The scale of the amounts is taken over all views, left-out ones included; it knows no action.
    """
    amounts_VA = views.vectors[:, :, -AMOUNTS:] / network.amount_share
    mean_A, deviation_A = amounts_VA.mean(axis=(0, 1)), amounts_VA.std(axis=(0, 1)) + 1e-6
    scaled = views.vectors.copy()
    scaled[:, :, -AMOUNTS:] = network.amount_share * (amounts_VA - mean_A) / deviation_A
    views = replace(views, vectors=scaled)
    network.get_buffer("amount_mean").copy_(torch.from_numpy(mean_A))
    network.get_buffer("amount_deviation").copy_(torch.from_numpy(deviation_A))

    logits_VK = views.leave_views_out(classes, params)
    logits_NK = views.answer(logits_VK)
    weight_KF, bias_K = views.learn_head(np.arange(len(views.actions)), classes, params)
    with torch.no_grad():
        network.head.weight.copy_(weight_KF)
        network.head.bias.copy_(bias_K)
    followed_V = np.zeros(len(logits_VK), bool) if views.followed is None else views.followed
    return Learned(
        network=network.eval(),
        left_out=calibrate(logits_NK, views.actions, views.groups),
        people_logits=logits_VK[followed_V],
        people_clips=views.clip_of_view[followed_V],
    )


def learn_codebooks(
    spans: Sequence[LabelledSpan],
    folder: Path,
    window: WindowSpec,
    reader: StripReader,
    follow: FollowPeople,
    params: FisherParams,
) -> dict[str, Codebook]:
    """Codebooks of everything that moves in some clips; what is done in them is not read."""
    describe, pool = MotionField(slice_frames(window)), CuboidPool(params)
    for view in _views(spans, folder, window, reader, follow):
        with torch.inference_mode():
            pool.add(describe(torch.from_numpy(view.windows)).cuboids())
    return pool.learn()


def describe_learned(
    learned: Measured,
    content: bytes,
    name: str,
    task: Task,
    actions: Sequence[str],
    window: WindowSpec,
    lineage: Lineage,
    *,
    description: str,
    unnamed: Sequence[str],
    licence: str,
) -> ModelCard:
    """The card of a network's ONNX file; its metrics hold the left-out figures."""
    weights = describe_weights(content)
    return ModelCard(
        name=name,
        version=weights.sha256[:12],
        task=task,
        description=description,
        weights=weights,
        licence=licence,
        lineage=lineage,
        window=window,
        classes=tuple(actions),
        action=learned.calibration(actions, unnamed),
        reference=learned.reference(),
        metrics=learned.measures(actions),
    )


def choose_minimum_probability(learned: Learned, unnamed: Sequence[int]) -> float:
    """The lowest probability at which nine in ten of what is said is right, on left-out groups.

    Measured on people as they are served where anybody was followed, else on clips; the highest there is when
    none will do.
    """
    people = len(learned.people_clips) > 0
    left_out = learned.left_out
    logits_PK = learned.people_logits if people else left_out.logits
    actions_P = left_out.actions[learned.people_clips] if people else left_out.actions
    probabilities_PK = softmax(logits_PK, left_out.temperature)
    answer_P, sure_P = probabilities_PK.argmax(axis=1), probabilities_PK.max(axis=1)
    for chance in _CHANCES:
        said_P = (sure_P >= chance) & ~np.isin(answer_P, unnamed)
        if said_P.any() and np.mean(answer_P[said_P] == actions_P[said_P]) >= _LEAST_PRECISION:
            return chance
    return _CHANCES[-1]


def check_engines(
    learned: Measured, card: ModelCard, weights_path: Path, *, limit: float = PARITY_LIMIT
) -> dict[str, float]:
    """Largest difference of any logit from the trained network's, by engine.

    Raises:
        EnginesDisagree: One differs by more than `limit`.
    """
    assert card.window is not None  # the card's validator
    side = card.window.size_px
    plane = np.random.default_rng(0).integers(0, 256, (side + 64, side + 128, 3))
    # Something has to move, or there is nothing to compare.
    steps = [plane[t % 64 : t % 64 + side, 2 * (t % 64) : 2 * (t % 64) + side] for t in range(card.window.frames)]
    rgb = np.stack([np.stack(steps).astype(np.uint8)] * _PARITY_WINDOWS)
    with torch.inference_mode():
        expected = learned.network(torch.from_numpy(rgb)).numpy()
    answers = [
        (engine, load_network(card, weights_path, device=engine).run({"rgb": rgb})["logits"]) for engine in ENGINES
    ]
    return check_parity(expected, answers, limit)


def slice_frames(window: WindowSpec) -> int:
    """Pairs of pictures in a slice of a fifth of a second."""
    return max(1, round(_SLICE_SECONDS * window.rate_hz))


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Windows (W, T, S, S, 3) of one place in a clip."""

    clip: int
    windows: NDArray[np.uint8]
    followed: bool


def _views(
    spans: Sequence[LabelledSpan], folder: Path, window: WindowSpec, reader: StripReader, follow: FollowPeople
) -> Iterator[_View]:
    requests, clips = request_squares(spans, folder, window, follow)
    for clip, span in enumerate(spans):
        # Where the set says who is meant, nobody else does it.
        for strip in follow(folder / span.clip) if window.view == "surroundings" and not span.boxes else ():
            end_seconds = np.inf if span.end_seconds is None else span.end_seconds
            cut = [
                one.rgb
                for one in cut_surroundings(strip, window)
                if one.start_seconds >= span.start_seconds and one.start_seconds < end_seconds
            ]
            if cut:
                yield _View(clip, np.stack(cut), followed=True)
    for clip, pictures in zip(clips, reader.read(requests), strict=True):
        yield _View(clip, cut_strip(pictures, window), followed=False)


def request_squares(
    spans: Sequence[LabelledSpan], folder: Path, window: WindowSpec, follow: FollowPeople
) -> tuple[list[StripRequest], list[int]]:
    """The squares of every clip that a network is shown, and the clip each is of.

    Surroundings of a span with boxes are those of its person alone.
    """
    requests, clips = [], []
    for clip, span in enumerate(spans):
        path = folder / span.clip
        with decode(path) as decoding:
            width_px, height_px = decoding.clip.width_px, decoding.clip.height_px
        if window.view == "surroundings" and span.boxes:
            shares_N4 = np.array([box.box for box in span.boxes], np.float32)
            squares = [square_of_surroundings(shares_N4 * np.array([width_px, height_px] * 2, np.float32))]
        else:
            people = [strip.boxes_px for strip in follow(path)] if window.view == "surroundings" else []
            squares = choose_squares(width_px, height_px, people)
        for square in squares:
            requests.append(
                StripRequest(path, span.start_seconds, span.end_seconds, window.rate_hz, window.size_px, square)
            )
            clips.append(clip)
    return requests, clips


def spread(confidence_N: NDArray[np.float64]) -> Reference:
    """How answers were spread, for drift."""
    counts = np.bincount(np.digitize(confidence_N, _REFERENCE_EDGES), minlength=len(_REFERENCE_EDGES) + 1)
    return Reference(
        quantity="probability",
        edges=_REFERENCE_EDGES,
        shares=tuple(float(share) for share in counts / counts.sum()),
    )
