from collections import Counter
from dataclasses import replace

import pytest

from training.bench.load import LoadFigures, Pace, slope_per_100, tabulate

PACE = Pace([16.0, 20.0], [8.0, 10.0], [16.0, 20.0], [16.0, 20.0])
FIGURES = LoadFigures(
    cold=PACE,
    warm=PACE,
    statuses=Counter({200: 490, 503: 10}),
    resident_mib={"tracks": [500.0, 600.0, *[601.0] * 8], "events": [90.0] * 10},
    recovered_seconds={"tracks": 7.0},
    same_events=True,
)


def bars(figures: LoadFigures) -> list[bool]:
    return [bar.met for bar in tabulate(figures, "clip.mp4", cores=2).bars]


def test_gain_growth_and_statuses_are_held_to_their_bars() -> None:
    table = tabulate(FIGURES, "clip.mp4", cores=2)
    assert table.bars[0].measured == 2.0
    assert bars(FIGURES) == [True] * 4


def test_cores_busy_say_whether_more_could_be_gained() -> None:
    alone, together = PACE.busy()
    assert (alone.median, together.median) == (1.0, 2.0)
    assert (
        "cold: with all 2 cores busy the work of eight at once allows a gain of 2.00"
        in tabulate(FIGURES, "clip.mp4", cores=2).remarks
    )


def test_memory_s_slope_leaves_out_the_filling_of_buffers() -> None:
    assert slope_per_100([100.0, 200.0, *[200.0] * 8], 500) == pytest.approx(0.0)
    assert slope_per_100([100.0 + 5 * share for share in range(10)], 500) == pytest.approx(10.0)


def test_each_bar_can_be_missed() -> None:
    growing = {"tracks": [500.0] * 10, "events": [90.0 + 2 * share for share in range(10)]}
    assert bars(replace(FIGURES, cold=replace(PACE, together_seconds=[15.0, 19.0])))[0] is False
    assert bars(replace(FIGURES, statuses=Counter({200: 499, 500: 1})))[1] is False
    assert bars(replace(FIGURES, resident_mib=growing))[2] is False
    assert bars(replace(FIGURES, same_events=False))[3] is False
