"""Clip: what a file says about its video, before any of it is analysed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clip:
    """A file's video stream, as declared.

    Attributes:
        width_px: Of the upright picture.
        height_px: Of the upright picture.
        duration_seconds: As declared; None where the file does not say.
        rate_hz: Average frames a second as declared; None where the file does not say.
        codec: FFmpeg's name of it.
        rotation: Quarter turns counter-clockwise that set the stored picture upright.
    """

    width_px: int
    height_px: int
    duration_seconds: float | None
    rate_hz: float | None
    codec: str
    rotation: int
