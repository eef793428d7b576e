import gc
import socketserver
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from services.contracts.errors import BadInput
from services.perception.decode import decode, probe
from services.perception.frame import Frame

from .conftest import MakeClip


def levels(frames: list[Frame]) -> list[int]:
    """Which frames these are: see `make_clip`."""
    return [round((float(frame.rgb.mean()) - 9.5) / 4) for frame in frames]


def times(frames: list[Frame]) -> list[float]:
    return [round(frame.pts_seconds, 3) for frame in frames]


def test_every_frame_comes_with_its_own_time(make_clip: MakeClip) -> None:
    clip = make_clip([0.0, 0.04, 0.12, 0.5])
    frames = list(decode(clip))
    assert times(frames) == [0.0, 0.04, 0.12, 0.5]
    assert levels(frames) == [0, 1, 2, 3]


def test_time_starts_at_the_first_frame(make_clip: MakeClip) -> None:
    assert times(list(decode(make_clip([3.0, 3.1, 3.2])))) == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("rate_hz", [10, 25, 30])
def test_samples_are_the_newest_frames_at_grid_times(make_clip: MakeClip, rate_hz: int) -> None:
    pts_seconds = [k / rate_hz for k in range(rate_hz)]
    frames = list(decode(make_clip(pts_seconds), at_rate_hz=10))
    expected = [max(p for p in pts_seconds if p <= k / 10 + 1e-6) for k in range(10)]
    assert times(frames) == [round(p, 3) for p in expected]


def test_ten_and_thirty_fps_copies_give_the_same_pictures(make_clip: MakeClip) -> None:
    slow = make_clip([k / 10 for k in range(12)], name="slow.mkv", pictures=[_level(k) for k in range(12)])
    fast = make_clip([k / 30 for k in range(36)], name="fast.mkv", pictures=[_level(k // 3) for k in range(36)])
    from_slow, from_fast = (list(decode(clip, at_rate_hz=5)) for clip in (slow, fast))
    assert times(from_slow) == times(from_fast)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(from_slow, from_fast, strict=True))


def _level(k: int) -> np.ndarray:
    return np.full((48, 64, 3), 20 + 10 * k, np.uint8)


def test_a_pause_gives_no_picture_twice(make_clip: MakeClip) -> None:
    frames = list(decode(make_clip([0.0, 0.1, 2.05, 2.1]), at_rate_hz=10))
    assert times(frames) == [0.0, 0.1, 2.1]


@pytest.mark.parametrize("from_seconds", [0.0, 0.31, 1.5])
def test_a_span_holds_the_samples_of_the_whole_in_it(make_clip: MakeClip, from_seconds: float) -> None:
    clip = make_clip([k / 25 for k in range(75)], codec="libx264", pix_fmt="yuv420p", options={"g": "10"}, name="c.mp4")
    whole = times(list(decode(clip, at_rate_hz=10)))
    part = times(list(decode(clip, from_seconds=from_seconds, to_seconds=2.2, at_rate_hz=10)))
    assert part == [t for t in whole if from_seconds <= t < 2.2]


def test_a_span_beyond_the_end_is_refused(make_clip: MakeClip) -> None:
    with pytest.raises(BadInput, match=r"no frame from 5\.0 s on; it holds 0\.2"):
        list(decode(make_clip([0.0, 0.1]), from_seconds=5.0))


@pytest.mark.parametrize("size_px", [(16, 16), (17, 31), (1, 1)])
def test_one_frame_of_any_size_is_a_clip(make_clip: MakeClip, size_px: tuple[int, int]) -> None:
    (frame,) = decode(make_clip([0.0], size_px=size_px), at_rate_hz=10)
    assert (frame.width_px, frame.height_px) == size_px


@pytest.mark.parametrize(("rotation", "quarters"), [(90, 1), (180, 2), (-90, 3)])
def test_rotated_pictures_come_upright(make_clip: MakeClip, rotation: int, quarters: int) -> None:
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32, 0] = 200
    clip = make_clip([0.0], rotation=rotation, name="c.mp4", codec="libx264rgb", pix_fmt="rgb24",
                     options={"qp": "0"}, pictures=[stored])  # fmt: skip
    (frame,) = decode(clip)
    assert np.array_equal(frame.rgb, np.rot90(stored, quarters))
    assert probe(clip).width_px == frame.width_px


def test_ten_bit_pictures_come_as_eight(make_clip: MakeClip) -> None:
    clip = make_clip([0.0, 0.1], codec="ffv1", pix_fmt="yuv420p10le")
    assert levels(list(decode(clip))) == [0, 1]


def test_interlaced_frames_are_mended(make_clip: MakeClip) -> None:
    # A bar that moves between the two fields of each frame: combing that no progressive picture has.
    combed = np.full((6, 48, 64, 3), 40, np.uint8)
    for k, picture in enumerate(combed):
        picture[0::2, 8 * k : 8 * k + 16] = 220
        picture[1::2, 8 * k + 4 : 8 * k + 20] = 220
    clip = make_clip([k / 25 for k in range(6)], codec="libx264", pix_fmt="yuv420p", name="c.mp4",
                     options={"qp": "1"}, interlaced=True, pictures=list(combed))  # fmt: skip
    mended = [frame.rgb for frame in decode(clip)]
    assert len(mended) == 6
    assert _combing(mended[3]) < 0.5 * _combing(combed[3])


def _combing(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture.astype(int), axis=0)).mean())


def test_large_pictures_are_shrunk_and_the_clip_still_tells_its_size(make_clip: MakeClip) -> None:
    clip = make_clip([0.0], size_px=(400, 200))
    with decode(clip, longest_side_px=100) as decoding:
        (frame,) = decoding
    assert (frame.width_px, frame.height_px) == (100, 50)
    assert (decoding.clip.width_px, decoding.clip.height_px) == (400, 200)


def test_a_file_cut_short_gives_what_it_has_and_says_so(make_clip: MakeClip) -> None:
    options = {"movflags": "+faststart", "g": "5"}
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    clip = make_clip([k / 10 for k in range(30)], codec="libx264", pix_fmt="yuv420p", name="c.mp4",
                     options=options, pictures=list(noise))  # fmt: skip
    _move_index_to_front(clip)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    with decode(clip) as decoding:
        frames = list(decoding)
    assert 5 < len(frames) < 25
    assert any("cut short" in warning for warning in decoding.warnings)


def _move_index_to_front(path: Path) -> None:
    import av

    moved = path.with_name("front.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    moved.replace(path)


def test_a_whole_file_warns_of_nothing(make_clip: MakeClip) -> None:
    with decode(make_clip([k / 10 for k in range(30)]), at_rate_hz=5) as decoding:
        list(decoding)
    assert decoding.warnings == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "not a video"),
        ("noise.mp4", bytes(range(256)) * 40, "not a video"),
        ("notes.txt", b"remember the milk\n" * 50, "not a video but tty"),
    ],
)
def test_what_is_no_video_is_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message) as refused:
        probe(tmp_path / name)
    assert name in str(refused.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be opened"):
        probe(tmp_path / "absent.mp4")


def test_frames_are_not_hoarded(make_clip: MakeClip) -> None:
    clip = make_clip([k / 10 for k in range(60)])
    alive: list[weakref.ref[np.ndarray]] = []
    for frame in decode(clip):
        alive.append(weakref.ref(frame.rgb))
        del frame
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= 2


@pytest.mark.parametrize(
    ("file", "frames", "size_px"),
    [
        ("decord/unordered.mov", 4, (50, 50)),
        ("decord/corrupted.mp4", 49, (1280, 720)),
        ("decord/video_90.mov", 3, (320, 568)),
        ("torchcodec/av1_video.mkv", 125, (640, 360)),
        ("torchcodec/h264_10bits.mp4", 30, (200, 200)),
        ("torchcodec/h265_10bits.mp4", 30, (200, 200)),
        ("torchcodec/bt709_full_range.mp4", 30, (1280, 720)),
        ("torchcodec/nasa_13013.mp4", 390, (480, 270)),
    ],
)
def test_odd_media_decodes(shared_data: Path, file: str, frames: int, size_px: tuple[int, int]) -> None:
    pts_seconds = []
    for frame in decode(shared_data / "odd_media" / file):
        assert (frame.width_px, frame.height_px) == size_px
        pts_seconds.append(frame.pts_seconds)
    assert len(pts_seconds) == frames
    assert pts_seconds[0] == 0.0
    assert pts_seconds == sorted(set(pts_seconds))


def test_all_rotations_of_one_scene_are_the_same_way_up(shared_data: Path) -> None:
    upright = next(iter(decode(shared_data / "odd_media/decord/video_0.mov"))).rgb
    assert upright.shape == (320, 568, 3)
    for name, shape in (("90", (568, 320, 3)), ("180", (320, 568, 3)), ("270", (568, 320, 3))):
        rgb = next(iter(decode(shared_data / f"odd_media/decord/video_{name}.mov"))).rgb
        assert rgb.shape == shape


def test_sound_alone_is_refused(shared_data: Path) -> None:
    with pytest.raises(BadInput, match="no video in it, only audio"):
        probe(shared_data / "odd_media/torchcodec/sine_mono_s16.wav")


def test_a_playlist_makes_nobody_ask_for_what_it_names(tmp_path: Path) -> None:
    asked = []

    class Listening(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)  # and hang up: whoever asks is not kept waiting

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/secret.ts"
        playlist = tmp_path / "clip.m3u8"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(BadInput):
            probe(playlist)
        server.shutdown()
    assert asked == []
