"""Speed, memory and graph: the arithmetic, and the parts that measure, on work of a known size."""

import sys

import pytest

from services.contracts.errors import BadUsage, MissingModel, WhodidError
from services.settings import read_settings
from training.bench import graph, memory, speed
from training.bench.__main__ import main
from training.bench.hops import STEPS, HopTimes, measure_hops
from training.bench.machine import describe_machine
from training.bench.workplace import open_workplace

STAGES = ("verify", "decode", "persons", "faces", "tracking", "evidence", "identity", "action", "events", "report")


def test_speed_is_by_second_of_video() -> None:
    runs = [dict.fromkeys(STAGES, seconds) | {"all": 10 * seconds} for seconds in (1.0, 3.0, 2.0)]
    table = speed.tabulate(runs, 20.0, "a clip")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["decode"] == (0.05, 0.1, 0.15, "10.0%")
    assert rows["all"][:3] == (0.5, 1.0, 1.5)
    assert not table.bars[0].met  # exactly real time is not faster than it


def test_memory_is_compared_by_length() -> None:
    table = memory.tabulate([(2.0, 800.0, 90.0), (10.0, 1600.0, 450.0)], "clip.mp4")
    peak, flat = table.bars
    assert (peak.met, flat.met, flat.measured) == (False, False, 2.0)
    assert "measured at 10" in peak.wanted
    assert all(bar.met for bar in memory.tabulate([(2.0, 800.0, 90.0), (30.0, 810.0, 1400.0)], "clip.mp4").bars)


def test_the_peak_is_the_childs_even_after_it_let_go() -> None:
    hold = "import time; x = bytearray(b'1') * (120 << 20); time.sleep(0.3); del x; time.sleep(0.2)"
    idle = "import time; time.sleep(0.5)"
    ours, floor = (memory.peak_rss_mib([sys.executable, "-c", code], {}) for code in (hold, idle))
    assert 115 < ours - floor < 140


def test_a_child_that_fails_is_not_a_measurement() -> None:
    with pytest.raises(WhodidError, match=r"ended with 3: out of luck"):
        memory.peak_rss_mib([sys.executable, "-c", "import sys; sys.stderr.write('out of luck'); sys.exit(3)"], {})


def test_graph_compares_medians() -> None:
    hops = HopTimes(direct=[1.0, 1.0], step=[2.0] * 6, whole=[7.0, 9.0], requests=2)
    table = graph.tabulate([(10.0, 12.0), (8.0, 8.0), (10.0, 10.5)], hops, "clip.mp4", same_events=True)
    assert [bar.met for bar in table.bars] == [True, True]
    assert table.bars[0].measured == pytest.approx(1.05)
    assert table.rows[2][1:4] == pytest.approx((1.0, 1.05, 1.2))
    differing = graph.tabulate([(10.0, 12.0)], hops, "clip.mp4", same_events=False)
    assert [bar.met for bar in differing.bars] == [False, False]


def test_every_hop_is_timed() -> None:
    hops = measure_hops(4)
    assert [len(series) for _, series in hops.by_name()] == [4, 4 * STEPS, 4]
    assert sum(hops.whole) > sum(hops.step) > 0


def test_a_machine_is_described() -> None:
    facts = describe_machine()
    assert facts["cpu"]
    assert int(facts["cores"]) >= 1
    assert facts["openvino"]


def test_without_stills_there_is_no_gallery(tmp_path) -> None:
    with pytest.raises(MissingModel, match="dvc pull"), open_workplace(read_settings(), tmp_path):
        pass


def test_no_runs_are_refused() -> None:
    with pytest.raises(BadUsage, match="--runs 0"):
        main(["speed", "--runs", "0"])
