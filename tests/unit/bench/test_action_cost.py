"""What the cost tables make of timings, and the parts that measure, on a network small enough for a test."""

import numpy as np
import pytest
import torch

from services.contracts.card import ActionCalibration, Lineage, ModelCard, WindowSpec
from services.contracts.errors import BadInput
from services.models.engine import load_network
from services.models.store import ModelStore
from training.bench import action_cost
from training.bench.engine_times import (
    BATCH,
    Timing,
    Work,
    count_operations,
    draw_windows,
    measure_engines,
    store_beside,
    tabulate_engines,
    tabulate_operations,
    time_in_turns,
)
from training.bench.scene_answers import SceneAnswers
from training.config import NetworkParams
from training.datasets.windows import WindowSet
from training.export import describe_weights, export_onnx
from training.metrics.detections import Segment
from training.networks.action import CnnLstm
from training.precision import quantise

PARAMS = NetworkParams(channels=(8, 16), lstm_units=4, dropout=0.0)
WINDOW = WindowSpec(frames=8, rate_hz=8.0, stride_seconds=0.25, size_px=16, motion=True)


def ignore(what, done, total):
    assert done <= total


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = CnnLstm(
        classes=3, size_px=WINDOW.size_px, channels=PARAMS.channels, lstm_units=PARAMS.lstm_units, dropout=0.0
    )
    content = export_onnx(network.eval(), WINDOW, 5)
    card = ModelCard(
        name="tiny",
        version="1",
        task="action",
        description="",
        weights=describe_weights(content),
        licence="Apache-2.0",
        lineage=Lineage(source="a test"),
        window=WINDOW,
        classes=("stand", "wave", "run"),
        action=ActionCalibration(temperature=1.0, minimum_probability=0.5, minimum_seconds=0.5),
    )
    return ModelStore(tmp_path_factory.mktemp("models")).install(card, content)


def test_a_round_runs_everything_once_and_the_first_is_not_kept():
    order = []
    calls = {Work("batch", name, "cpu"): lambda name=name: order.append(name) for name in ("a", "b")}
    timings = time_in_turns(calls, 2, on_progress=ignore)
    assert order == ["a", "b"] * 3
    assert [len(several) for several in timings.values()] == [2, 2]


def test_every_row_of_throughput_is_by_window():
    timings = {
        "network": [Timing(1.0, 2.0)] * 3,
        "service": [Timing(2.0, 2.0)] * 3,
        "decoded": [Timing(5.0, float("nan")), Timing(4.0, float("nan")), Timing(20.0, float("nan"))],
        "all": [Timing(20.0, 10.0)] * 3,
    }
    table = action_cost.tabulate_throughput(timings, 100, "a.mp4")
    assert table.rows[0][1:] == (100.0, 100.0, 100.0, 2.0)
    assert table.rows[2][1:] == (5.0, 20.0, 25.0, "-")
    assert [(bar.measured, bar.met) for bar in table.bars] == [(20.0, True), (5.0, False)]


def test_the_network_is_held_to_the_fastest_reference():
    def timed(work, *seconds):
        return {work: [Timing(each, each) for each in seconds]}

    timings = {
        **timed(Work("window", "float32", "cpu", 10**9), 0.2, 0.4, 0.3),
        **timed(Work("batch", "float32", "cpu", BATCH * 10**9), 0.6, 0.4, 3.2),
        **timed(Work("window", "int8", "cpu", 10**9), 0.1, 0.1, 0.1),
        **timed(Work("batch", "int8", "cpu", BATCH * 10**9), 0.1, 0.1, 0.1),
        **timed(Work("reference", "slow", "cpu", 10**9), 1.0, 1.0, 1.0),
        **timed(Work("reference", "plain", "onnxruntime-cpu", 8 * 10**9), 0.1, 0.1, 0.8),
    }
    table = tabulate_operations(timings)
    # Twice as many operations in 6, 4 and 4 times the time of the best, round by round.
    assert table.bars[0].measured == pytest.approx(2.0)
    assert table.bars[0].met
    assert [row[0] for row in table.rows] == ["the network, float32, OpenVINO", "slow, OpenVINO", "plain, ONNX Runtime"]
    assert table.rows[0][5] == "2.00 to 3.00"
    assert table.remarks == ("the best: plain on ONNX Runtime",)
    engines = tabulate_engines(timings)
    assert [row[0] for row in engines.rows] == ["OpenVINO, float32", "OpenVINO, int8"]
    assert engines.rows[0][1:4] == pytest.approx((300.0, 390.0, 600 / BATCH))


def test_operations_are_counted_only_of_the_network_that_is_there(model):
    # 8 pictures of 8x8 places, 9 * 6 inputs to 8 channels: the first convolution alone.
    assert count_operations(model, PARAMS) > 2 * 8 * 64 * 54 * 8
    with pytest.raises(BadInput, match=r"tiny@1 holds \d+ numbers"):
        count_operations(model, PARAMS.model_copy(update={"channels": (8, 32)}))


def test_eight_bits_read_both_inputs_and_everything_is_timed(model, tmp_path):
    feed = draw_windows(model.card, 8)
    small = quantise(model.weights_path.read_bytes(), [feed])
    stored = store_beside(model.card, small, tmp_path / "int8")
    answers = [load_network(each.card, each.weights_path).run(feed)["logits"] for each in (model, stored)]
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.1 * np.abs(answers[0]).max()
    engines, operations = measure_engines(model, small, PARAMS, 1, on_progress=ignore)
    assert [row[0] for row in engines.rows] == [
        "OpenVINO, float32",
        "ONNX Runtime, float32",
        "OpenVINO, int8",
        "ONNX Runtime, int8",
    ]
    assert len(operations.rows) == 6
    assert all(row[3] > 0 for row in operations.rows)


def answers_of(right_chances, claimed):
    n = len(right_chances)
    windows = WindowSet(
        classes=np.array(["stand", "wave"]),
        pictures=np.zeros((1, 1, 1, 3), np.uint8),
        shown=np.zeros((n, 2), np.int32),
        motion=np.zeros((n, 2, 5), np.float32),
        actions=np.zeros(n, np.int64),
        subject_ids=np.array(["ann"] * n),
        clips=np.array(["a", "b"] * (n // 2)),
        tracks=np.array(["1"] * n),
        starts_seconds=np.zeros(n),
        ends_seconds=np.ones(n),
    )
    chance_N = np.array(right_chances)
    truth = [Segment("a/ann", "stand", 0.0, 4.0)]
    return SceneAnswers(
        windows, np.stack([chance_N, 1 - chance_N], axis=1), 1.0, {"a": truth}, {"a": truth if claimed else []}, {}, {}
    )


def test_what_eight_bits_lose_is_paired(model):
    full, small = answers_of([0.9] * 98 + [0.1] * 2, True), answers_of([0.9] * 96 + [0.1] * 4, False)
    table = action_cost.tabulate_precisions(full, small, (2.0, 1.0), model.card)
    assert [row[:3] for row in table.rows] == [("float32", 2.0, 0.98), ("int8", 1.0, 0.96)]
    assert [row[4] for row in table.rows] == [1.0, 0.0]
    assert not table.bars[0].met
    assert table.bars[0].measured == "2.00 [2.00, 2.00]"
    assert "98.0%" in table.remarks[0]
    assert action_cost.tabulate_precisions(small, full, (2.0, 1.0), model.card).bars[0].met
