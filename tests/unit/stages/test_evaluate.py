import dataclasses

import numpy as np
import pytest

from services.contracts.card import ActionCalibration
from tests.unit.datasets.windows import make_windows
from training.config import read_config
from training.metrics.events import Happening
from training.stages.evaluate import choose_calibration, make_claims, measure_events, measure_windows

CALIBRATION = ActionCalibration(temperature=1, minimum_probability=0.5, minimum_seconds=0)


@pytest.fixture
def params(repository):
    return read_config(repository / "params.yaml").evaluate


@pytest.fixture
def windows():
    """One track of ten windows, 0.3 s apart: ann stands in the first half and walks in the second."""
    return dataclasses.replace(
        make_windows(10),
        actions=np.repeat([0, 1], 5),
        subject_ids=np.array(["ann"] * 9 + [""]),
        clips=np.array(["c0"] * 10),
    )


def sure(windows):
    return np.eye(3)[windows.actions] * 0.97 + 0.01


TRUTHS = [Happening("c0", "ann", "stand", 0.0, 1.55), Happening("c0", "ann", "walk", 1.55, 3.1)]


def test_a_track_s_windows_become_claims_in_the_name_of_whom_it_shows_most(windows):
    claims = make_claims(windows, sure(windows), CALIBRATION)
    assert [(claim.subject_id, claim.action) for claim in claims] == [("ann", "stand"), ("ann", "walk")]
    assert claims[0].end_seconds == claims[1].start_seconds == pytest.approx(1.5, abs=0.2)


def test_right_windows_score_fully_and_wrong_ones_not_at_all(windows, params):
    right = measure_events(windows, sure(windows), TRUTHS, CALIBRATION, params)
    wrong = measure_events(windows, np.roll(sure(windows), 1, axis=1), TRUTHS, CALIBRATION, params)
    assert (right["events_f1"], right["events_true"]) == (1.0, 2)
    assert wrong["events_f1"] == 0.0


def test_windows_without_a_name_do_not_count(windows, params):
    unnamed = dataclasses.replace(windows, actions=np.array([0, 1, -1, -1, -1, -1, -1, -1, -1, 0]))
    probabilities = np.tile([0.8, 0.1, 0.1], (10, 1))
    metrics = measure_windows(unnamed, probabilities, params)
    assert metrics["windows"] == 3
    assert metrics["window_accuracy"] == pytest.approx(2 / 3)
    assert metrics["window_accuracy_low"] <= 2 / 3 <= metrics["window_accuracy_high"]


def test_the_chosen_thresholds_are_the_grid_s_best_on_the_given_truth(windows, params):
    doubtful = np.eye(3)[windows.actions] * 0.25 + 0.25
    grid = params.model_copy(
        update={"switch_costs": (1.0,), "minimum_probabilities": (0.4, 0.9), "minimum_seconds": (0.0, 9.0)}
    )
    chosen = choose_calibration(windows, doubtful, TRUTHS, 1.5, grid)
    assert (chosen.minimum_probability, chosen.minimum_seconds, chosen.temperature) == (0.4, 0.0, 1.5)
