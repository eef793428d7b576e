import dataclasses
import multiprocessing
import os
import signal

import numpy as np
import pytest

from services.contracts.errors import BadInput
from training.clips.reader import ReaderStalled, StripReader, StripRequest, read_strip


def levels(strip):
    """Grey level in the middle of each picture, in steps of the fixture."""
    middle = strip[:, strip.shape[1] // 2, strip.shape[2] // 2, 0].astype(float)
    return np.round((middle - 20) / 10).astype(int).tolist()


def test_a_span_is_read_by_seconds(write_clip):
    strip = read_strip(StripRequest(write_clip(), 0.5, 1.0, size_px=32))
    assert strip.shape == (5, 32, 32, 3)
    assert levels(strip) == [5, 6, 7, 8, 9]


def test_a_slower_clip_shows_its_newest_picture_again(write_clip):
    strip = read_strip(StripRequest(write_clip(seconds=1.0, rate_hz=5.0), rate_hz=10.0, size_px=32))
    assert levels(strip) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_the_whole_picture_is_letterboxed(write_clip):
    strip = read_strip(StripRequest(write_clip(seconds=0.3), size_px=96))
    assert strip[0, :14].max() == 0
    assert strip[0, 48].min() > 10


def test_a_square_reaches_outside_the_picture_in_black(write_clip):
    strip = read_strip(StripRequest(write_clip(seconds=0.3), size_px=40, square_px=(-32, 0, 64)))
    assert strip.shape == (3, 40, 40, 3)
    assert strip[:, :, :18].max() == 0
    assert strip[:, :, 22:].min() > 10


def test_strips_are_decoded_once_and_given_in_order(write_clip, tmp_path):
    path = write_clip()
    requests = [StripRequest(path, start, start + 0.5, size_px=16) for start in (1.0, 0.0, 0.5)]
    with StripReader(tmp_path / "cache", workers=1) as reader:
        first = [levels(strip) for strip in reader.read(requests)]
        assert reader.throughput.decoded == 3
    with StripReader(tmp_path / "cache") as reader:
        assert [levels(strip) for strip in reader.read(requests)] == first
        assert (reader.throughput.decoded, reader.throughput.pictures) == (0, 15)
        assert "3 strips (0 decoded), 15 pictures" in str(reader.throughput)
    assert [strip[0] for strip in first] == [10, 0, 5]
    assert multiprocessing.active_children() == []


def test_another_request_or_another_file_is_another_strip(write_clip):
    request = StripRequest(write_clip())
    assert request.key() == StripRequest(request.path).key()
    assert request.key() != dataclasses.replace(request, size_px=64).key()
    before = request.key()
    os.utime(request.path, ns=(1, 1))
    assert request.key() != before


def test_a_clip_that_cannot_be_read_is_named_and_the_reader_goes_on(write_clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with StripReader(tmp_path / "cache", workers=1) as reader:
        with pytest.raises(BadInput, match=r"broken\.mp4"):
            list(reader.read([StripRequest(broken)]))
        assert len(list(reader.read([StripRequest(write_clip(), size_px=16)]))) == 1
        with pytest.raises(ReaderStalled, match=r"clip\.mp4: a worker died"):
            kill_workers_while_reading(reader, StripRequest(tmp_path / "clip.mp4", size_px=24))
    assert multiprocessing.active_children() == []


def kill_workers_while_reading(reader, request):
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    list(reader.read([request]))


def test_a_strip_that_takes_too_long_is_given_up(write_clip, tmp_path):
    with (
        StripReader(tmp_path / "cache", workers=1, patience_seconds=0.0) as reader,
        pytest.raises(ReaderStalled, match="no strip after 0 s"),
    ):
        list(reader.read([StripRequest(write_clip())]))
    assert multiprocessing.active_children() == []
