"""WindowSet: labelled windows of many tracks as plain arrays, in one .npz without pickle."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.errors import MissingModel


@dataclass(frozen=True, slots=True)
class WindowSet:
    """N windows of T pictures. Windows overlap, so each distinct picture is held once.

    Attributes:
        classes: (K,) str, action names in the network's order.
        pictures: (P, H, W, 3) uint8 RGB, the distinct pictures.
        shown: (N, T) int32, which picture each frame of a window is.
        motion: (N, T, M) float32, motion of the track's box.
        actions: (N,) int64, index into `classes`; -1 where the truth names no action.
        subject_ids: (N,) str, whom the truth sees there; empty where nobody.
        clips: (N,) str, file stem of the clip.
        tracks: (N,) str, the track in that clip.
        starts_seconds, ends_seconds: (N,) float64, in the clip.
    """

    classes: NDArray[np.str_]
    pictures: NDArray[np.uint8]
    shown: NDArray[np.int32]
    motion: NDArray[np.float32]
    actions: NDArray[np.int64]
    subject_ids: NDArray[np.str_]
    clips: NDArray[np.str_]
    tracks: NDArray[np.str_]
    starts_seconds: NDArray[np.float64]
    ends_seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.shown)

    def rgb(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures of some windows: (len(rows), T, H, W, 3) uint8."""
        return self.pictures[self.shown[rows]]

    def subjects(self) -> frozenset[str]:
        """Everyone seen here."""
        return frozenset(str(s) for s in np.unique(self.subject_ids) if s)

    def select(self, keep_N: NDArray[np.bool_]) -> "WindowSet":
        """The windows where `keep_N` is true, with only the pictures they use."""
        used, renumbered = np.unique(self.shown[keep_N], return_inverse=True)
        rest = {f.name: getattr(self, f.name)[keep_N] for f in fields(self)[3:]}
        return WindowSet(
            classes=self.classes,
            pictures=self.pictures[used],
            shown=renumbered.reshape(-1, self.shown.shape[1]).astype(np.int32),
            **rest,
        )

    def save(self, path: Path) -> None:
        """Write an .npz of plain arrays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "WindowSet":
        """Read what `save` wrote.

        Raises:
            MissingModel: There is no such file.
        """
        if not path.is_file():
            raise MissingModel(f"no windows at {path}: run `dvc repro prepare`")
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def join_windows(parts: Sequence[WindowSet]) -> WindowSet:
    """One set of several with the same classes, in their order.

    Raises:
        ValueError: No parts, or their classes differ.
    """
    if not parts or any(not np.array_equal(p.classes, parts[0].classes) for p in parts):
        raise ValueError("windows join only when there are some and all name the same classes in the same order")
    offsets = np.cumsum([0, *(len(p.pictures) for p in parts[:-1])])
    rest = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(WindowSet)[3:]}
    return WindowSet(
        classes=parts[0].classes,
        pictures=np.concatenate([p.pictures for p in parts]),
        shown=np.concatenate([p.shown + offset for p, offset in zip(parts, offsets, strict=True)]).astype(np.int32),
        **rest,
    )
