from collections import Counter
from dataclasses import replace

from training.bench.load import LoadFigures, tabulate

FIGURES = LoadFigures(
    alone_seconds=[16.0, 20.0],
    together_seconds=[8.0, 10.0],
    statuses=Counter({200: 490, 503: 10}),
    early_mib=1000.0,
    late_mib=1050.0,
    recovered_seconds={"tracks": 7.0},
    same_events=True,
)


def bars(figures: LoadFigures) -> list[bool]:
    return [bar.met for bar in tabulate(figures, "clip.mp4").bars]


def test_gain_growth_and_statuses_are_held_to_their_bars() -> None:
    table = tabulate(FIGURES, "clip.mp4")
    assert table.bars[0].measured == 2.0
    assert table.bars[2].measured == 1.05
    assert bars(FIGURES) == [True] * 4


def test_each_bar_can_be_missed() -> None:
    assert bars(replace(FIGURES, together_seconds=[15.0, 19.0]))[0] is False
    assert bars(replace(FIGURES, statuses=Counter({200: 499, 500: 1})))[1] is False
    assert bars(replace(FIGURES, late_mib=1200.0))[2] is False
    assert bars(replace(FIGURES, same_events=False))[3] is False
