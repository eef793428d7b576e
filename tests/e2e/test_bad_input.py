"""Whatever is wrong: one clear message, the right code, nothing half-written, and the next one is served."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.perception.encode import write_mp4
from services.perception.frame import Frame
from tests.e2e.clips import write_clip, write_sound

WHODID = [str(Path(sys.executable).parent / "whodid")]


def analyze(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WHODID, "analyze", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def message(result: subprocess.CompletedProcess[str]) -> str:
    """The one line about the fault; progress bars apart."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("whodid: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def not_a_video(folder: Path) -> Path:
    path = folder / "notes.mp4"
    path.write_text("these are notes, and no video at all\n" * 100)
    return path


def zero_length(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def headless(folder: Path) -> Path:
    """An MP4 cut before the index that it needs."""
    whole = write_clip(folder / "whole.mp4").read_bytes()
    path = folder / "headless.mp4"
    path.write_bytes(whole[:40])
    return path


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("make", [not_a_video, zero_length, headless, lambda folder: write_sound(folder / "sound.wav")])
def test_what_is_no_clip_is_refused_by_name(tmp_path: Path, make: object) -> None:
    assert callable(make)
    clip = make(tmp_path)
    result = analyze(clip, "--out", tmp_path / "out")
    assert result.returncode == 3
    assert clip.name in message(result)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("seconds", "size"), [(0.1, (320, 240)), (1.0, (16, 16)), (0.1, (7680, 4320))], ids=["one frame", "16x16", "8K"]
)
def test_unusual_clips_are_analysed(tmp_path: Path, seconds: float, size: tuple[int, int]) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=seconds, size=size)
    result = analyze(clip, "--out", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    video = json.loads(result.stdout)["video"]
    assert (video["width_px"], video["height_px"]) == size
    assert (tmp_path / "out" / "clip" / "report.html").is_file()


@pytest.mark.usefixtures("home")
def test_a_truncated_clip_is_analysed_as_far_as_it_goes_and_says_so(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", seconds=20, size=(640, 480)).read_bytes()
    clip = tmp_path / "cut.mp4"
    clip.write_bytes(whole[: len(whole) // 2])
    result = analyze(clip, "--out", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    analysis = json.loads(result.stdout)
    assert 1 < analysis["video"]["end_seconds"] < 19
    assert any("cut short" in warning for warning in analysis["warnings"])
    assert all(f"whodid: {clip}: {warning}" in result.stderr for warning in analysis["warnings"])


@pytest.mark.usefixtures("home")
def test_times_that_are_not_even_are_kept(tmp_path: Path) -> None:
    clip = tmp_path / "vfr.mp4"
    times_seconds = [0.0, 0.04, 0.5, 0.54, 0.6, 2.0, 2.04]
    write_mp4((Frame(np.full((120, 160, 3), 10 * k, np.uint8), pts) for k, pts in enumerate(times_seconds)), clip)
    result = analyze(clip, "--out", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["video"]["end_seconds"] == pytest.approx(2.08, abs=0.5)


@pytest.mark.usefixtures("home")
def test_one_bad_file_never_costs_the_others(tmp_path: Path) -> None:
    good, bad = write_clip(tmp_path / "good.mp4"), not_a_video(tmp_path)
    result = analyze(bad, good, "--out", tmp_path / "out", "--json")
    assert result.returncode == 3
    assert "notes.mp4" in message(result)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]


@pytest.mark.usefixtures("home")
def test_a_missing_file_a_backward_span_and_a_missing_gallery_are_named(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    missing = analyze(tmp_path / "none.mp4")
    backward = analyze(clip, "--from", "5", "--to", "2", "--out", tmp_path / "out")
    gallery = analyze(clip, "--gallery", tmp_path / "none.db", "--out", tmp_path / "out")
    assert (missing.returncode, backward.returncode, gallery.returncode) == (3, 2, 3)
    assert "none.mp4" in message(missing)
    assert "must be after" in message(backward)
    assert "none.db" in message(gallery)


def test_a_tampered_model_is_refused_before_anything_is_analysed(tmp_path: Path, home: Path, models: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    champion = json.loads((copy / "champions.json").read_text())["action"]
    (weights,) = [path for path in (copy / champion).iterdir() if path.suffix != ".json"]
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    clip = write_clip(tmp_path / "clip.mp4")
    result = analyze(clip, "--out", tmp_path / "out", WHODID_MODELS=str(copy))
    assert result.returncode == 4
    assert champion in message(result)
    assert not home.exists()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB, to the brim."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("where", ["report", "evidence"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, full_disk: Path, where: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=6, size=(640, 480))
    out = full_disk if where == "report" else tmp_path
    environment = {"WHODID_EVIDENCE": str(full_disk / "evidence")} if where == "evidence" else {}
    result = analyze(clip, "--out", out / "out", **environment)
    assert result.returncode != 0
    assert "No space left" in message(result) or "full" in message(result)
    assert {path.name for path in full_disk.rglob("*") if path.is_file()} == {"ballast"}


def test_sigterm_in_the_middle_leaves_nothing_half_written(tmp_path: Path, home: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", seconds=120, size=(640, 480))
    process = subprocess.Popen(
        [*WHODID, "analyze", str(clip), "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(home.glob("evidence/.*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "Traceback" not in stderr
    left = [path for folder in (home, tmp_path / "out") for path in folder.rglob("*") if path.is_file()]
    assert left == []
