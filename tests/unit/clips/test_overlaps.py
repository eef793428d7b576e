import json

import numpy as np
import pytest
import yaml

from services.action.recognize import ActionRecognizer
from services.contracts.card import ModelCard, WindowSpec
from services.contracts.errors import BadInput, BadUsage, MissingModel
from services.models.engine import load_network
from services.models.store import ModelStore
from training.clips.__main__ import main
from training.clips.learn import request_squares
from training.clips.manifest import LabelledSpan, PersonBox
from training.clips.overlaps import calibrate_overlaps
from training.clips.recognizer import ClipRecognizer

LEFT, RIGHT = (0.1, 0.3, 0.2, 0.7), (0.7, 0.2, 0.8, 0.8)


def span(actions, group, box, *, clip="clip.mp4", person="a"):
    return LabelledSpan(
        clip=clip,
        actions=actions,
        group=group,
        subject_id=person,
        boxes=(PersonBox(seconds=0.5, box=box),),
        source="drawn",
        licence="Apache-2.0",
    )


def test_a_person_with_a_box_is_shown_alone(write_clip):
    path = write_clip(width_px=100, height_px=50)
    window = WindowSpec(frames=4, rate_hz=5, stride_seconds=0.2, size_px=16, motion=False, view="surroundings")

    def nobody(path):
        pytest.fail(f"the manifest says where people are in {path}")

    spans = [span(("walk",), "g", LEFT), span(("wave",), "g", RIGHT)]
    requests, clips = request_squares(spans, path.parent, window, nobody)
    assert clips == [0, 1]
    # Two body lengths of 20 and of 30 pixels, around the middle of each.
    assert [request.square_px for request in requests] == [(-5, 5, 40), (45, -5, 60)]


def test_what_is_said_of_a_group_is_decided_by_all_others():
    rng = np.random.default_rng(0)
    done = rng.random((40, 2)) < 0.4
    logits = np.where(done, 2.0, -2.0) + rng.normal(size=(40, 2))
    groups = np.array([f"g{i // 8}" for i in range(40)])
    spans = [span(("a",), group, LEFT) for group in groups]
    before = calibrate_overlaps(logits, done, groups, spans, ("a", "b"))
    inside = groups == "g2"
    turned = np.where(inside[:, None], ~done, done)
    after = calibrate_overlaps(logits, turned, groups, spans, ("a", "b"))
    assert np.array_equal(before.probabilities[inside], after.probabilities[inside])
    assert np.array_equal(before.said[inside], after.said[inside])
    assert not np.array_equal(before.probabilities[~inside], after.probabilities[~inside])


def test_ava_s_mean_is_over_boxes_of_one_picture():
    spans = [
        span(("walk",), "g0", LEFT, clip="x.mp4"),
        span(("walk", "wave"), "g0", RIGHT, clip="x.mp4", person="b"),
        span(("wave",), "g1", LEFT, clip="y.mp4"),
        span(("walk",), "g1", RIGHT, clip="y.mp4", person="b"),
    ]
    done = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], bool)
    logits = np.array([[3.0, -3], [2, 3], [1, 2], [-1, -2]])
    left_out = calibrate_overlaps(logits, done, np.array(["g0", "g0", "g1", "g1"]), spans, ("walk", "wave"))
    assert 0 < left_out.frame_map <= 1
    assert left_out.frame_map == pytest.approx(left_out.scores().mean_ap, abs=0.1)


@pytest.fixture
def learn(write_clip, repository, tmp_path, monkeypatch):
    """Learns from six clips of two people each, one bright and one dark, who do one or two things at once."""
    rows = []
    for number in range(6):
        write_clip(f"{number}.mp4", seconds=1.5)
        for who, box, actions in (("a", LEFT, ("walk", "wave")), ("b", RIGHT, (("walk", "phone")[number % 2],))):
            rows.append(span(actions, f"g{number // 2}", box, clip=f"{number}.mp4", person=who).model_dump_json())
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    names = "\n".join(f'{name} = "{name}"' for name in ("walk", "wave", "phone"))
    space = f'exclusive = false\nactions = ["walk", "wave", "phone"]\n[names.drawn]\n{names}\n'
    (tmp_path / "space.toml").write_text(space)
    params = yaml.safe_load((repository / "params.yaml").read_text())
    params["learn_clips"]["recurrent"]["network"] |= {"channels": [8, 16], "units": 8}
    params["learn_clips"]["recurrent"]["window"] |= {"frames": 4, "size_px": 32}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    common = ["learn", "manifest.jsonl", "--space", "space.toml", "--name", "overlaps", "--out", "made"]
    return lambda *more: main([*common, "--workers", "1", *more])


def test_a_manifest_whose_actions_overlap_becomes_a_network_that_is_measured_and_not_served(learn, tmp_path, capsys):
    learn("--network", "cnn_lstm", "--task", "behaviour", "--epochs", "1", "--folds", "2")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["spans"], facts["groups"], facts["actions_a_span"]) == (12, 3, 1.5)
    assert set(facts["said"]) == {"walk", "wave", "phone"}
    assert 0 < facts["left_out_frame_map"] <= 1
    assert facts["parity_cpu"] < 1e-3
    card = ModelCard.model_validate_json((tmp_path / "made/card.json").read_text())
    assert len(card.action.thresholds) == 3
    assert card.window.view == "surroundings"
    assert "actions overlap" in card.description

    store = ModelStore(tmp_path / "models")
    store.install(card, tmp_path / "made/model.onnx")
    store.set_champion("behaviour", card.weights.sha256)
    with pytest.raises(MissingModel, match="overlaps names several at once and is measured, not served"):
        ActionRecognizer.load(store, "behaviour", device="cpu")
    with pytest.raises(BadInput, match="overlaps names several actions at once"):
        ClipRecognizer(card, load_network(card, tmp_path / "made/model.onnx"), None)


@pytest.mark.parametrize("more", [("--network", "fisher"), ("--network", "cnn_lstm", "--precision", "int8")])
def test_networks_that_cannot_learn_overlaps_say_which_can(learn, more):
    with pytest.raises(BadUsage, match=r"the actions of space overlap: .*cnn_gru learn such, in fp32"):
        learn(*more)


def test_a_span_need_only_be_as_long_as_the_network_that_is_meant_asks(learn, tmp_path, capsys):
    """A second of AVA is enough for eight pictures at 4 Hz, and too short for two seconds of motion."""
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    short = [{**line, "end_seconds": 1.0} for line in lines]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in short))
    check = ["check", "manifest.jsonl", "--space", "space.toml"]
    main([*check, "--network", "r3d_18"])
    assert "12 spans are sound" in capsys.readouterr().out
    with pytest.raises(BadInput, match=r"lasts 1.00 s, less than half a window of 2.1 s"):
        main(check)


def test_a_card_has_a_threshold_for_each_class_or_none():
    card = {
        "name": "n",
        "version": "1",
        "task": "behaviour",
        "description": "",
        "weights": {"file": "model.onnx", "sha256": "0" * 64, "size_bytes": 1, "format": "onnx"},
        "licence": "MIT",
        "lineage": {"source": "test"},
        "window": {"frames": 4, "rate_hz": 5, "stride_seconds": 1, "size_px": 16, "motion": False},
        "classes": ["a", "b"],
        "action": {"temperature": 1, "minimum_probability": 0.5, "minimum_seconds": 0},
    }
    ModelCard.model_validate(card)
    card["action"]["thresholds"] = [0.5]
    with pytest.raises(ValueError, match="1 thresholds for 2 classes"):
        ModelCard.model_validate(card)
