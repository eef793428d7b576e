import json

import numpy as np
import pytest

from services.contracts.errors import BadUsage
from training.bench import action, action_clips
from training.bench.action_clips import ClipSet, list_recipes, measure_clips, measure_eight_bits, tabulate_clips
from training.clips.video import make_recipe
from training.metrics.answers import score_answers


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    monkeypatch.setattr(action_clips, "KEPT", tmp_path / "kept")


def silent(what, done, total):
    pass


def test_every_network_has_a_row_beside_what_files_alone_give_away(params, clips, monkeypatch, tmp_path, repository):
    monkeypatch.setattr(action_clips, "read_clips", lambda given, recipe: clips)
    monkeypatch.setattr(action_clips, "describe_files", lambda spans, folder: np.zeros((12, 1)))
    rows = [
        {"clip": f"{i}.mp4", "actions": ["fight"], "group": f"g{i // 2}", "source": "s", "licence": "l"}
        for i in range(12)
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ClipSet("fights", tmp_path / "manifest.jsonl")
    (table,) = measure_clips(
        given, params, ["cnn_lstm", "cnn_gru"], pretrained=tmp_path, folds=3, rounds=1, on_progress=silent
    )
    assert [row[0] for row in table.rows] == [
        "the files' size, rate, length and bitrate alone",
        "cnn_lstm, from scratch",
        "cnn_gru, from scratch",
    ]
    assert table.rows[0][1] <= 0.5 < table.rows[1][1]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert [bar.wanted for bar in table.bars] == [">= 0.8", ">= 0.87"]
    assert "12 real clips, 6 groups, 2 actions" in table.title
    (fewer,) = measure_clips(
        given,
        params,
        ["cnn_lstm", "cnn_gru"],
        pretrained=tmp_path,
        pretrained_only=["cnn_gru"],
        folds=3,
        rounds=1,
        on_progress=silent,
    )
    # Nobody gave it weights to begin with.
    assert [row[0] for row in fewer.rows[1:]] == ["cnn_lstm, from scratch"]


def test_the_floor_is_never_called_the_best(params):
    truth, groups = np.array([0, 1] * 4), np.array([f"g{i}" for i in range(8)])
    right, wrong = (np.eye(2)[truth], np.eye(2)[1 - truth])
    scored = {"files": score_answers(right, truth, groups), "network": score_answers(wrong, truth, groups)}
    table = tabulate_clips(ClipSet("interactions", None), [make_recipe(params, "cnn_gru")], scored, 3, 2, 8)
    assert table.bars[0].name == "interactions: top-1 of network"
    assert not table.bars[0].met


def test_given_weights_make_a_second_recipe_of_their_network(params, tmp_path):
    (tmp_path / "cnn_gru.safetensors").touch()
    assert [one.pretrained for one in list_recipes(params, "cnn_gru", tmp_path, 2)] == [
        None,
        tmp_path / "cnn_gru.safetensors",
    ]
    assert [one.params.epochs for one in list_recipes(params, "r3d_18", tmp_path, 2)] == [2]


def test_eight_bits_are_measured_on_the_same_clips_and_take_less_room(params, clips):
    recipe = make_recipe(params, "cnn_lstm")
    table = measure_eight_bits("fights", clips, recipe, 2, 1, on_progress=silent)
    full, small = table.rows
    assert [full[0], small[0]] == ["float32", "int8"]
    assert small[-1] < full[-1]
    assert len(full) == len(small) == len(table.columns)
    assert [bar.measured for bar in table.bars] == [pytest.approx(100 * (full[1] - small[1]))]


def test_a_part_without_its_clips_says_what_it_needs(monkeypatch, repository):
    monkeypatch.chdir(repository)
    with pytest.raises(BadUsage, match="part fights needs --fights MANIFEST"):
        action.main(["fights"])
