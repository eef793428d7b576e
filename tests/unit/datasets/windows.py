"""Small learnable windows: an action is a colour and a direction of motion."""

import numpy as np

from training.datasets.windows import WindowSet


def make_windows(count, *, classes=("stand", "walk", "run"), frames=4, size_px=16, seed=0) -> WindowSet:
    rng = np.random.default_rng(seed)
    action_N = np.arange(count) % len(classes)
    pictures = rng.integers(0, 60, (count * frames, size_px, size_px, 3))
    pictures[np.arange(count * frames), :, :, action_N.repeat(frames) % 3] += 120
    motion = rng.normal(0, 0.1, (count, frames, 5)) + action_N[:, None, None]
    return WindowSet(
        classes=np.array(classes),
        pictures=pictures.astype(np.uint8),
        shown=np.arange(count * frames).reshape(count, frames).astype(np.int32),
        motion=motion.astype(np.float32),
        actions=action_N.astype(np.int64),
        subject_ids=np.array([f"s{i % 5}" for i in range(count)]),
        clips=np.array([f"c{i % 2}" for i in range(count)]),
        tracks=np.array(["1"] * count),
        starts_seconds=np.arange(count) * 0.3,
        ends_seconds=np.arange(count) * 0.3 + 0.4,
    )
