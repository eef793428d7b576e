import json

import numpy as np
import pytest

from services.contracts.errors import BadUsage
from training.bench import action, action_transfer
from training.bench.action_clips import ClipSet
from training.bench.action_transfer import measure_crossed, measure_taught


def silent(what, done, total):
    pass


@pytest.fixture
def sets(tmp_path):
    """Two manifests whose actions have names of their own."""
    made = {}
    for name, source, actions in (
        ("interactions", "ut_interaction", ("kick", "hug")),
        ("fights", "fights", ("fight", "no_fight")),
    ):
        rows = [
            {"clip": f"{i}.mp4", "actions": [actions[i % 2]], "group": f"g{i // 2}", "source": source, "licence": "l"}
            for i in range(12)
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        made[name] = ClipSet(name, path, {"cnn_lstm": 6, "r3d_18": 1})
    return made


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path, clips, params):
    """Networks are kept in the test's own folder; nobody's clips are read, and the teacher is small, too."""
    monkeypatch.setattr(action_transfer, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(action_transfer, "TEACHER", "cnn_gru")
    monkeypatch.setattr(action_transfer, "read_clips", lambda given, recipe, space_name=None: clips)
    monkeypatch.setattr(action_transfer, "describe_files", lambda spans, folder: np.zeros((len(spans), 1)))


def test_a_pupil_stands_beside_its_equal_alone_for_every_seed(params, sets, tmp_path):
    (table,) = measure_taught(
        sets["interactions"], params, pretrained=tmp_path, folds=2, seeds=(7, 8), on_progress=silent
    )
    assert [row[0] for row in table.rows] == [
        "cnn_lstm, from scratch, seed 7",
        "cnn_lstm, from scratch, taught by cnn_gru, from scratch, seed 7",
        "cnn_lstm, from scratch, seed 8",
        "cnn_lstm, from scratch, taught by cnn_gru, from scratch, seed 8",
    ]
    alone, taught = (np.mean([table.rows[first + step][1] for step in (0, 2)]) for first in (0, 1))
    assert f"{100 * (taught - alone):+.1f} points" in table.remarks[0]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_who_learned_from_one_set_rates_the_other(params, sets, clips, monkeypatch):
    asked = []

    def read(given, recipe, space_name=None):
        asked.append((given.name, space_name))
        return clips

    monkeypatch.setattr(action_transfer, "read_clips", read)
    (table,) = measure_crossed(sets, params, ["cnn_lstm"], pretrained=None, on_progress=silent)
    assert [row[:3] for row in table.rows] == [
        ("interactions", "fights", "the files' size, rate, length and bitrate alone"),
        ("interactions", "fights", "cnn_lstm, from scratch"),
        ("fights", "interactions", "the files' size, rate, length and bitrate alone"),
        ("fights", "interactions", "cnn_lstm, from scratch"),
    ]
    assert table.rows[0][3] == 0.5 < table.rows[1][3]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert set(asked) == {("interactions", "fights"), ("fights", "fights")}
    assert "kick is fight" in table.protocol
    assert "hug is no_fight" in table.protocol


@pytest.mark.parametrize(("part", "given"), [("taught", "fights"), ("crossed", "interactions")])
def test_a_part_says_which_set_is_missing(part, given, sets, repository, monkeypatch):
    monkeypatch.chdir(repository)
    missing = {"interactions": "fights", "fights": "interactions"}[given]
    with pytest.raises(BadUsage, match=f"part {part} needs --{missing} MANIFEST"):
        action.main([part, f"--{given}", str(sets[given].manifest)])


def test_epochs_are_told_network_by_network(capsys):
    assert dict(action._parser().parse_args(["--epochs", "cnn_lstm=3", "r3d_18=1"]).epochs) == {
        "cnn_lstm": 3,
        "r3d_18": 1,
    }
    with pytest.raises(SystemExit):
        action._parser().parse_args(["--epochs", "3"])
    assert "'3' is not NETWORK=N" in capsys.readouterr().err
