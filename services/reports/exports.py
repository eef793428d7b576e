"""The analysis in formats other tools read: AVA csv, MOTChallenge text, WebVTT.

Tracks are numbered 1, 2, ... in the order of `Analysis.tracks`, the same in AVA and MOT.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from services.contracts.events import Analysis, Event
from services.contracts.tracks import Video
from services.reports.paths import BoxPath
from services.reports.sentences import part_of
from services.reports.timecode import format_webvtt


def ava_rows(
    events: Iterable[Event],
    video: Video,
    numbers: Mapping[str, int],
    paths: Mapping[str, BoxPath],
    video_id: str,
) -> str:
    """Actions once a second, in the columns of AVA v2.2, without a header line.

    video_id, timestamp, x1, y1, x2, y2, action, person_id. The timestamp is a whole second of the
    clip, four digits or more; its frame is the middle one of the second that it stands for. Boxes are
    shares of width and height, origin top left, three decimals. The action is ours by name: AVA's
    numbers stand for AVA's own list. A second without a known action or box has no row.

    Args:
        events: Of one clip.
        video: Its size.
        numbers: person_id by track id.
        paths: Boxes by track id, in pixels of `video`.
        video_id: First column; by custom the file name without its ending.

    Source: Gu et al. 2018, arXiv:1705.08421, and the dataset's csv description.
    """
    size = np.array([video.width_px, video.height_px] * 2, dtype=np.float64)
    rows = []
    for event in events:
        seconds = np.arange(math.ceil(event.start_seconds), math.ceil(event.end_seconds), dtype=np.float64)
        in_view, values = paths[event.track_id].interpolate(seconds)
        shares = np.clip(values[:, :4] / size, 0, 1)
        for second, box in zip(seconds[in_view], shares[in_view], strict=True):
            rows.append((int(second), numbers[event.track_id], box, event.action.name))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for second, number, box, action in sorted(rows, key=lambda row: (row[0], row[1], row[3])):
        corners = [f"{share:.3f}" for share in box]
        writer.writerow([video_id, f"{second:04d}", *corners, action, number])
    return text.getvalue()


def number_tracks(track_ids: Iterable[str]) -> dict[str, int]:
    """person_id by track id: 1, 2, ... in the order given."""
    return {track_id: number for number, track_id in enumerate(track_ids, start=1)}


def mot_rows(analysis: Analysis, paths: Mapping[str, BoxPath]) -> Iterator[str]:
    """Lines of a MOTChallenge 2D tracker file, by frame and then person.

    frame, id, bb_left, bb_top, bb_width, bb_height, conf, -1, -1, -1. Frames count from 1 at
    `video.start_seconds`, pixels from the top left. Boxes between two detections are interpolated. A
    frame's time is its number over the clip's mean frame rate: exact for a constant rate.

    Source: Leal-Taixé et al. 2015, arXiv:1504.01942, section 3.3.
    """
    video = analysis.video
    duration_seconds = video.end_seconds - video.start_seconds
    if video.frames == 0 or duration_seconds <= 0:
        return
    rate_fps = video.frames / duration_seconds
    snapped = [_snap(paths[report.track.track_id], video.start_seconds, rate_fps) for report in analysis.tracks]
    # A minute at a time: an hour of boxes never lies in memory as text.
    block = max(1, math.ceil(60 * rate_fps))
    for first in range(0, video.frames, block):
        frames = np.arange(first, min(first + block, video.frames))
        lines: list[tuple[int, int, str]] = []
        for number, path in enumerate(snapped, start=1):
            in_view, values = path.interpolate(video.start_seconds + frames / rate_fps)
            for index, (x1, y1, x2, y2, confidence) in zip(frames[in_view], values[in_view], strict=True):
                box = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{confidence:.4f}"
                lines.append((int(index), number, f"{index + 1},{number},{box},-1,-1,-1\n"))
        yield from (line for _, _, line in sorted(lines))


def _snap(path: BoxPath, start_seconds: float, rate_fps: float) -> BoxPath:
    """Move detections onto the frame grid, so the last bit of a pts cannot lose the frame it names."""
    frames = np.round((path.seconds - start_seconds) * rate_fps)
    return BoxPath(start_seconds + frames / rate_fps, path.boxes_px, path.confidences)


def vtt_cues(events: Iterable[Event], name_of: Callable[[Event], str]) -> str:
    """Subtitles of a clip: one cue an event, "subject: action", in the clip's own time.

    Args:
        events: Of one clip.
        name_of: What its person is called.

    Source: W3C WebVTT.
    """

    def cue(event: Event) -> str:
        times = f"{format_webvtt(event.start_seconds)} --> {format_webvtt(event.end_seconds)}"
        words = f"{name_of(event)}: {event.action.name.replace('_', ' ')}{part_of(event)}"
        return f"{event.event_id}\n{times}\n{_escape_cue(words)}\n"

    ordered = sorted(events, key=lambda event: (event.start_seconds, event.end_seconds, event.event_id))
    return "\n".join(["WEBVTT\n", *map(cue, ordered)])


def _escape_cue(words: str) -> str:
    """Cue text on one line: a line break would end it, and "-->" or a tag would change it."""
    one_line = " ".join(words.split())
    return one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
