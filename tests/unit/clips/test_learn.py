import json

import numpy as np
import pytest
from scipy import ndimage

from services.contracts.card import Lineage, ModelCard, WindowSpec
from services.models.engine import load_network
from services.perception.encode import write_mp4
from services.perception.frame import Frame
from training.clips.fisher import FisherParams
from training.clips.learn import (
    Learned,
    LeftOut,
    check_engines,
    choose_minimum_probability,
    describe_learned,
    learn_codebooks,
    learn_from_clips,
)
from training.clips.manifest import LabelledSpan
from training.clips.reader import StripReader
from training.clips.recognizer import ClipRecognizer
from training.export import export_pixels
from training.metrics.recognition import softmax

WINDOW = WindowSpec(frames=9, rate_hz=10, stride_seconds=0.5, size_px=64, motion=False, view="scene")
ACTIONS = ("across", "down")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A texture that moves across or down, in four groups of two clips."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(1)
    spans = []
    for number in range(8):
        smooth = ndimage.gaussian_filter(rng.random((160, 160)), 2, mode="wrap")
        plane = np.clip(128 + 50 * (smooth - smooth.mean()) / smooth.std(), 0, 255).astype(np.uint8)
        steps = [(0, 3 * t) if number % 2 == 0 else (3 * t, 0) for t in range(11)]
        pictures = [plane[dy : dy + 64, dx : dx + 64, None].repeat(3, axis=2) for dy, dx in steps]
        frames = [Frame(picture, t / 10, 0.1) for t, picture in enumerate(pictures)]
        write_mp4(frames, folder / f"{number}.mp4", quality_crf=10)
        action, group = ACTIONS[number % 2], f"g{number // 2}"
        spans.append(
            LabelledSpan(clip=f"{number}.mp4", actions=(action,), group=group, source="drawn", licence="Apache-2.0")
        )
    return folder, spans


@pytest.fixture(scope="module")
def learned(clips, tmp_path_factory):
    folder, spans = clips
    params = FisherParams(components=6, gaussians=2)

    def nobody(path):
        raise AssertionError(f"{path} is a scene: nobody needs to be found")

    with StripReader(tmp_path_factory.mktemp("strips"), workers=1) as reader:
        codebooks = learn_codebooks(spans, folder, WINDOW, reader, nobody, params)
        return learn_from_clips(spans, folder, ACTIONS, WINDOW, codebooks, reader, nobody, params)


@pytest.fixture(scope="module")
def exported(learned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    content = export_pixels(learned.network, WINDOW)
    card = describe_learned(
        learned,
        content,
        "drawn",
        "interaction",
        ACTIONS,
        WINDOW,
        Lineage(source="a test"),
        unnamed=("down",),
        description="Learned from drawn clips.",
        licence="Apache-2.0",
    )
    (folder / "model.onnx").write_bytes(content)
    (folder / "card.json").write_text(card.model_dump_json())
    return card, folder


def test_directions_are_told_apart_in_groups_never_met(learned):
    assert learned.scores().top1 == 1.0


def test_the_card_says_what_was_measured_and_when_to_abstain(exported):
    card, folder = exported
    assert card == ModelCard.model_validate(json.loads((folder / "card.json").read_text()))
    assert card.metrics["left_out_accuracy"] == 1.0
    assert 0 < card.action.abstain_below <= 1
    assert card.action.unnamed == ("down",)
    assert sum(card.reference.shares) == pytest.approx(1)


def test_engines_answer_as_the_learned_network(learned, exported):
    card, folder = exported
    assert max(check_engines(learned, card, folder / "model.onnx").values()) < 2e-2


def test_a_whole_clip_is_recognised_from_its_file(exported, clips):
    card, folder = exported
    root, spans = clips
    recognizer = ClipRecognizer(card, load_network(card, folder / "model.onnx"), None)
    for span in spans[:2]:
        rated = recognizer.rate(root / span.clip, str(folder))
        assert ACTIONS[int(rated.argmax())] == span.actions[0]


def rated(logits, *, people=None, actions=None):
    """Answers of a network nobody trained: eight clips of four groups, and people in the first of them."""
    logits, actions = np.array(logits, float), np.array(actions or [0, 1] * 4)
    people = np.zeros((0, 2)) if people is None else np.array(people, float)
    groups = np.array([f"g{number // 2}" for number in range(len(actions))])
    left_out = LeftOut(logits=logits, probabilities=softmax(logits), actions=actions, groups=groups, temperature=1.0)
    return Learned(network=None, left_out=left_out, people_logits=people, people_clips=np.arange(len(people)))


def test_a_segment_opens_where_nine_in_ten_are_right():
    # Sure of the first action at 0.88 and right; at 0.62 wrong every other time.
    clips = rated([[2, 0], [0.5, 0], [2, 0], [0.5, 0], [2, 0], [0, 2], [0.5, 0], [0, 2]])
    assert choose_minimum_probability(clips, [1]) == 0.65
    # People are what is served: where there are any, they decide.
    assert choose_minimum_probability(rated([[2, 0], [0, 2]] * 4, people=[[1, 0], [1.5, 0], [3, 0]]), [1]) == 0.85


def test_nothing_that_is_sure_enough_asks_for_the_most():
    assert choose_minimum_probability(rated([[0, 0.1]] * 8, actions=[0] * 8), []) == 0.95
