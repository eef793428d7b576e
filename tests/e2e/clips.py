"""Small clips made on the spot, good and bad."""

import wave
from pathlib import Path

import numpy as np

from services.perception.encode import write_mp4
from services.perception.frame import Frame


def write_clip(path: Path, *, seconds: float = 2.0, rate_hz: float = 10.0, size: tuple[int, int] = (320, 240)) -> Path:
    """A moving gradient: a real video with nobody in it."""
    width_px, height_px = size
    x, y = np.meshgrid(np.arange(width_px), np.arange(height_px))
    frames = (
        Frame(np.stack([(x + 3 * k) % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8), k / rate_hz)
        for k in range(max(1, round(seconds * rate_hz)))
    )
    write_mp4(frames, path)
    return path


def write_sound(path: Path) -> Path:
    """One second of silence: a media file without pictures."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    return path
