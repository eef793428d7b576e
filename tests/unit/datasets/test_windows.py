import numpy as np
import pytest

from services.contracts.errors import MissingModel
from tests.unit.datasets.windows import make_windows
from training.datasets.windows import WindowSet, join_windows


def assert_same_windows(one, other):
    rows = np.arange(len(one))
    np.testing.assert_array_equal(one.rgb(rows), other.rgb(rows))
    for name in ("classes", "motion", "actions", "subject_ids", "clips", "tracks", "starts_seconds", "ends_seconds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_saved_set_reads_back_the_same(tmp_path):
    windows = make_windows(9)
    windows.save(tmp_path / "some" / "windows.npz")
    assert_same_windows(windows, WindowSet.load(tmp_path / "some" / "windows.npz"))


def test_selecting_keeps_rows_and_drops_unused_pictures():
    windows = make_windows(9)
    keep = windows.actions == 0
    part = windows.select(keep)
    np.testing.assert_array_equal(part.rgb(np.arange(len(part))), windows.rgb(np.flatnonzero(keep)))
    assert len(part.pictures) == len(np.unique(windows.shown[keep]))


def test_the_halves_of_a_set_join_to_the_whole():
    windows = make_windows(9)
    first = np.arange(9) < 4
    assert_same_windows(windows, join_windows([windows.select(first), windows.select(~first)]))


def test_sets_of_other_classes_do_not_join():
    one, other = make_windows(3), make_windows(3, classes=("wave", "fall"))
    with pytest.raises(ValueError, match="same classes"):
        join_windows([one, other])


def test_an_absent_file_says_what_to_run(tmp_path):
    with pytest.raises(MissingModel, match="dvc repro prepare"):
        WindowSet.load(tmp_path / "none.npz")
