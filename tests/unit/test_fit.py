import dataclasses

import pytest
import torch

from tests.unit.datasets.windows import make_windows
from training.config import read_config
from training.fit import fit, learning_rate_at
from training.lessons.action import ActionLesson, predict_logits
from training.networks.action import CnnLstm


@pytest.fixture
def params(repository):
    params = read_config(repository / "params.yaml").train_action
    return params.model_copy(update={"epochs": 4, "batch_size": 8, "patience": 4, "learning_rate": 0.01})


@pytest.fixture
def train():
    return make_windows(48)


@pytest.fixture
def validation():
    return make_windows(24, seed=1)


def make_network():
    torch.manual_seed(3)
    return CnnLstm(classes=3, size_px=16, channels=(8, 16), lstm_units=8, dropout=0.2)


class Stopped(Exception):
    pass


def stop_after(epoch):
    def report(done):
        if done.epoch == epoch:
            raise Stopped

    return report


def run(network, train, validation, params, folder, report=lambda epoch: None, fingerprint="a"):
    path = folder / "checkpoint.safetensors"
    lesson = ActionLesson(network, train, validation, params)
    return fit(lesson, params, checkpoint=path, fingerprint=fingerprint, report=report)


def assert_same_weights(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_learns_what_can_be_learned(train, validation, params, tmp_path):
    # Batch normalisation needs some dozens of steps until its averages are those of the network it has become.
    longer = params.model_copy(update={"epochs": 12, "patience": 12})
    history = run(make_network(), train, validation, longer, tmp_path)
    assert history[-1].measures["validation_accuracy"] > 0.9
    assert history[-1].train_loss < history[0].train_loss


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(train, validation, params, tmp_path):
    (tmp_path / "whole").mkdir()
    whole, halved = make_network(), make_network()
    expected = run(whole, train, validation, params, tmp_path / "whole")

    with pytest.raises(Stopped):
        run(halved, train, validation, params, tmp_path, stop_after(1))
    reported = []
    resumed = make_network()
    history = run(resumed, train, validation, params, tmp_path, reported.append)

    assert history == expected == reported
    assert_same_weights(whole, resumed)


def test_a_checkpoint_of_another_run_is_not_resumed(train, validation, params, tmp_path):
    with pytest.raises(Stopped):
        run(make_network(), train, validation, params, tmp_path, stop_after(1))
    other = params.model_copy(update={"seed": 8})
    resumed, fresh = make_network(), make_network()
    run(resumed, train, validation, other, tmp_path, fingerprint="b")
    run(fresh, train, validation, other, tmp_path, fingerprint="b")
    assert_same_weights(resumed, fresh)


def test_leaves_no_checkpoint_behind(train, validation, params, tmp_path):
    run(make_network(), train, validation, params, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_keeps_the_best_weights_and_stops_when_nothing_improves(train, validation, params, tmp_path):
    wrong = dataclasses.replace(validation, actions=(validation.actions + 1) % 3)
    network = make_network()
    patient = params.model_copy(update={"epochs": 30, "patience": 2})
    history = run(network, train, wrong, patient, tmp_path)
    losses = [epoch.validation_loss for epoch in history]
    assert len(history) == losses.index(min(losses)) + 1 + 2
    logits = torch.from_numpy(predict_logits(network, wrong))
    best = torch.nn.functional.cross_entropy(logits, torch.from_numpy(wrong.actions)).item()
    assert best == pytest.approx(min(losses))


def test_learning_rate_warms_up_and_then_falls(params):
    rates = [learning_rate_at(epoch / 10, params) for epoch in range(40)]
    peak = rates.index(max(rates))
    assert peak == 10 * params.warmup_epochs
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(params.learning_rate)
