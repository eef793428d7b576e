"""Learn: from labelled clips to a network, measured on groups it never met, with its card."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.contracts.card import ActionCalibration, Lineage, ModelCard, WindowSpec
from services.perception.decode import decode
from services.perception.track import Track
from training.clips.export import export_pixels
from training.clips.fisher import CuboidPool, FisherParams, RatedViews, calibrate_left_out, embed_motion
from training.clips.manifest import LabelledSpan
from training.clips.reader import StripReader, StripRequest
from training.clips.views import choose_squares, cut_strip
from training.export import check_parity, describe_weights
from training.metrics.answers import AnswerScores, abstention_threshold, score_answers
from training.metrics.recognition import fit_temperature, softmax
from training.networks.motion import AMOUNTS, Codebook, FisherMotion, MotionField

PARITY_LIMIT = 2e-2
_PARITY_WINDOWS = 4
_ABSTAINING_SHARE = 0.1
# Long enough that a push is told from a touch, short enough that a punch is not averaged away.
_SLICE_SECONDS = 0.2

FindTracks = Callable[[Path], Sequence[Track]]
"""Everyone followed through a clip."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A network and what was measured without leaks.

    Attributes:
        network: Learned from all clips.
        logits: (N, K) of each clip by a linear layer that met no clip of its group.
        probabilities: (N, K): those, by a temperature that suits all other groups.
        actions: (N,) int64.
        groups: (N,) str.
        temperature: Of the network: fitted to all clips' left-out logits.
    """

    network: FisherMotion
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


def learn_from_clips(
    spans: Sequence[LabelledSpan],
    folder: Path,
    actions: Sequence[str],
    window: WindowSpec,
    codebooks: dict[str, Codebook],
    reader: StripReader,
    find_tracks: FindTracks,
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
        find_tracks: Asked only where surroundings are viewed.
        params: Chosen beforehand.
    """
    network = FisherMotion(codebooks, classes=len(actions), slice_frames=slice_frames(window))
    vectors, clip_of_view = [], []
    for clip, windows in _views(spans, folder, window, reader, find_tracks):
        with torch.inference_mode():
            motion = network.motion(torch.from_numpy(windows))
        vectors.append(embed_motion(network, motion))
        clip_of_view.append(clip)
    return fit_head(
        network,
        RatedViews(
            np.stack(vectors),
            np.array(clip_of_view),
            np.array([actions.index(span.actions[0]) for span in spans]),
            np.array([span.group for span in spans]),
        ),
        len(actions),
        params,
    )


def fit_head(network: FisherMotion, views: RatedViews, classes: int, params: FisherParams) -> Learned:
    """Scale the amounts, measure without leaks, and learn from all.

    The scale of the amounts is taken over all views, left-out ones included; it knows no action.
    """
    amounts_VA = views.vectors[:, :, -AMOUNTS:] / network.amount_share
    mean_A, deviation_A = amounts_VA.mean(axis=(0, 1)), amounts_VA.std(axis=(0, 1)) + 1e-6
    scaled = views.vectors.copy()
    scaled[:, :, -AMOUNTS:] = network.amount_share * (amounts_VA - mean_A) / deviation_A
    views = RatedViews(scaled, views.clip_of_view, views.actions, views.groups)
    network.get_buffer("amount_mean").copy_(torch.from_numpy(mean_A))
    network.get_buffer("amount_deviation").copy_(torch.from_numpy(deviation_A))

    logits_NK = views.leave_groups_out(classes, params)
    weight_KF, bias_K = views.learn_head(np.arange(len(views.actions)), classes, params)
    with torch.no_grad():
        network.head.weight.copy_(weight_KF)
        network.head.bias.copy_(bias_K)
    return Learned(
        network.eval(),
        logits_NK,
        calibrate_left_out(logits_NK, views.actions, views.groups),
        views.actions,
        views.groups,
        fit_temperature(logits_NK, views.actions),
    )


def learn_codebooks(
    spans: Sequence[LabelledSpan],
    folder: Path,
    window: WindowSpec,
    reader: StripReader,
    find_tracks: FindTracks,
    params: FisherParams,
) -> dict[str, Codebook]:
    """Codebooks of everything that moves in some clips; what is done in them is not read."""
    describe, pool = MotionField(slice_frames(window)), CuboidPool(params)
    for _, windows in _views(spans, folder, window, reader, find_tracks):
        with torch.inference_mode():
            pool.add(describe(torch.from_numpy(windows)).cuboids())
    return pool.learn()


def export_learned(
    learned: Learned,
    name: str,
    actions: Sequence[str],
    window: WindowSpec,
    lineage: Lineage,
    *,
    licence: str,
    data: str,
) -> tuple[ModelCard, bytes]:
    """The network as ONNX, and its card.

    The card's metrics hold the left-out figures, the probability below which the least sure tenth lies
    (`abstention_threshold`), and quantiles of the likeliest action's probability, against which drift can be told.
    """
    content = export_pixels(learned.network, window)
    weights = describe_weights(content)
    scores = learned.scores()
    confidence_N = learned.probabilities.max(axis=1)
    metrics = {
        "clips": float(len(learned.actions)),
        "groups": float(len(np.unique(learned.groups))),
        "left_out_accuracy": scores.top1,
        "left_out_accuracy_low": scores.top1_low,
        "left_out_accuracy_high": scores.top1_high,
        "left_out_mean_class_accuracy": scores.mean_class,
        "left_out_auc": scores.auc,
        "left_out_auc_low": scores.auc_low,
        "left_out_auc_high": scores.auc_high,
        "left_out_calibration_error": scores.calibration_error,
        "left_out_accuracy_of_surest_nine_tenths": scores.top1_of_surest,
        "abstention_threshold": abstention_threshold(learned.probabilities, _ABSTAINING_SHARE),
    }
    for percent in (5, 25, 50, 75, 95):
        metrics[f"reference_probability_p{percent:02}"] = float(np.percentile(confidence_N, percent))
    card = ModelCard(
        name=name,
        version=weights.sha256[:12],
        task="action",
        description=f"Motion cuboids, Fisher vector and a linear layer, learned from {data}.",
        weights=weights,
        licence=licence,
        lineage=lineage,
        window=window,
        classes=tuple(actions),
        action=ActionCalibration(
            temperature=learned.temperature,
            enter_probability=min(metrics["abstention_threshold"], 0.99),
            leave_probability=0.5 * min(metrics["abstention_threshold"], 0.99),
            minimum_seconds=0.5,
        ),
        metrics=metrics,
    )
    return card, content


def check_engines(learned: Learned, card: ModelCard, weights_path: Path) -> dict[str, float]:
    """Largest difference of any logit from the trained network's, by engine.

    Raises:
        EnginesDisagree: One differs by more than PARITY_LIMIT.
    """
    from services.models.engine import load_network

    assert card.window is not None
    side = card.window.size_px
    rng = np.random.default_rng(0)
    drift = rng.integers(0, 256, (side + 64, side + 64, 3))
    # Something has to move, or there is nothing to compare.
    steps = [drift[t % 64 : t % 64 + side, 2 * t % 64 : 2 * t % 64 + side] for t in range(card.window.frames)]
    rgb = np.stack([np.stack(steps).astype(np.uint8)] * _PARITY_WINDOWS)
    with torch.inference_mode():
        expected = learned.network(torch.from_numpy(rgb)).numpy()
    answers = [
        (engine, load_network(card, weights_path, device=engine).run({"rgb": rgb})["logits"])
        for engine in ("cpu", "onnxruntime-cpu")
    ]
    return check_parity(expected, answers, PARITY_LIMIT)


def slice_frames(window: WindowSpec) -> int:
    """Pairs of pictures in a slice of a fifth of a second."""
    return max(1, round(_SLICE_SECONDS * window.rate_hz))


def _views(
    spans: Sequence[LabelledSpan], folder: Path, window: WindowSpec, reader: StripReader, find_tracks: FindTracks
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Index of a span and the windows (W, T, S, S, 3) of one of its views."""
    requests: list[StripRequest] = []
    clips = []
    for clip, span in enumerate(spans):
        path = folder / span.clip
        with decode(path) as decoding:
            width_px, height_px = decoding.clip.width_px, decoding.clip.height_px
        tracks = find_tracks(path) if window.view == "surroundings" else ()
        for square in choose_squares(width_px, height_px, tracks):
            requests.append(
                StripRequest(path, span.start_seconds, span.end_seconds, window.rate_hz, window.size_px, square)
            )
            clips.append(clip)
    for clip, strip in zip(clips, reader.read(requests), strict=True):
        yield clip, cut_strip(strip, window)
