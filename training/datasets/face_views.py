"""Views: pictures made of few faces that ask a teacher about far more than those few.

A teacher answers for any picture. Faces blended with one another, part by part or as a whole, and bent a little, are
people who do not exist; what the teacher says of them teaches its space to a student as real ones would.

Shape legend: N views · S side in pixels · D numbers of an embedding.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.console import ProgressBars
from training.datasets.face_augmentation import crop_chips
from training.datasets.face_chips import FaceChips, refuse_other_work

Teacher = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Chips (N, 3, S, S), 0-255, to embeddings (N, D)."""

SHARD_VIEWS = 3000
_BATCH = 50
_GREY = (0.299, 0.587, 0.114)
# Shares of the views that show one face, and two blended as a whole; the rest are blended by a patchy mask.
SINGLE_SHARE, WHOLE_SHARE = 0.35, 0.3
_TURN_RAD, _ZOOM, _STRETCH, _SHIFT = math.radians(4), 0.06, 0.06, 0.02
_BEND, _BEND_PLACES, _MASK_PLACES, _MASK_SHARPNESS = 0.026, 5, 4, 5.0


@dataclass(frozen=True, slots=True, eq=False)
class TaughtViews:
    """N views at the student's side, and what the teacher says of them at its own.

    Attributes:
        pixels: (N, 1, S, S) uint8 grey.
        embeddings: (N, D) float32.
    """

    pixels: Tensor
    embeddings: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class StudentChip:
    """What a student sees of a teacher's chip.

    Attributes:
        size_px: Side of the student's chip.
        seen_px: Of the teacher's chip, in the middle: the less there is around a face, the nearer its scale to the
            teacher's.
    """

    size_px: int
    seen_px: int

    def cut(self, views_N1SS: Tensor) -> Tensor:
        """(N, 1, size_px, size_px) uint8 of what the teacher sees."""
        margin_px = (views_N1SS.shape[2] - self.seen_px) // 2
        inside = slice(margin_px, margin_px + self.seen_px)
        return functional.interpolate(views_N1SS[:, :, inside, inside], size=self.size_px, mode="area").round().byte()


def view_as_they_are(faces: FaceChips, teacher: Teacher, chip: StudentChip) -> TaughtViews:
    """Every face once, unchanged but for its colour."""
    clear_N1SS = _grey(crop_chips(torch.from_numpy(faces.rows(np.arange(len(faces)))), faces.chip_px))
    return _taught([_ask(part, teacher, chip) for part in torch.split(clear_N1SS, _BATCH)])


def prepare_views(
    faces: FaceChips, teacher: Teacher, folder: Path, *, count: int, chip: StudentChip, seed: int, teacher_id: str
) -> TaughtViews:
    """Draw views and ask the teacher, shard by shard; shards already whole are kept.

    Args:
        faces: To make views of, aligned for the teacher.
        teacher: Looks at them at the side they were aligned for.
        folder: Gets shard-NNNNN.npz and views.json.
        count: Views in all.
        chip: As which they are kept.
        seed: Decides, with a shard's number, everything drawn in it.
        teacher_id: Digest of the teacher's weights.

    Raises:
        BadInput: The folder holds views of other faces, or for another pair of networks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("".join(record.model_dump_json() for record in faces.records).encode()).hexdigest()
    work = {"faces": digest, "teacher": teacher_id, "chip": asdict(chip), "seed": seed}
    refuse_other_work(folder / "views.json", work)
    shards = []
    with ProgressBars(unit="views") as bars:
        for number, start in enumerate(range(0, count, SHARD_VIEWS)):
            bars.advance_to("asking the teacher", start, count)
            path = folder / f"shard-{number:05d}.npz"
            if not path.is_file():
                _draw_shard(faces, teacher, path, chip, seed * 100_003 + number)
            with np.load(path, allow_pickle=False) as stored:
                shards.append((torch.from_numpy(stored["pixels"]), torch.from_numpy(stored["embeddings"])))
        bars.advance_to("asking the teacher", count, count)
    views = _taught(shards)
    return TaughtViews(views.pixels[:count], views.embeddings[:count])


def _draw_shard(faces: FaceChips, teacher: Teacher, path: Path, chip: StudentChip, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for _ in range(0, SHARD_VIEWS, _BATCH):
        rows = torch.randint(len(faces), (2, _BATCH), generator=generator).numpy()
        one, other = (_grey(torch.from_numpy(faces.rows(some)).permute(0, 3, 1, 2).float()) for some in rows)
        parts.append(_ask(draw_views(one, other, faces.chip_px, generator), teacher, chip))
    views = _taught(parts)
    # Written beside and moved: a shard that was interrupted is made again.
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez(file, pixels=views.pixels.numpy(), embeddings=views.embeddings.numpy())
    unfinished.replace(path)


def _ask(views_N1SS: Tensor, teacher: Teacher, chip: StudentChip) -> tuple[Tensor, Tensor]:
    embeddings_ND = teacher(views_N1SS.expand(-1, 3, -1, -1).contiguous().numpy())
    return chip.cut(views_N1SS), torch.from_numpy(embeddings_ND)


def _taught(parts: list[tuple[Tensor, Tensor]]) -> TaughtViews:
    pixels, embeddings = zip(*parts, strict=True)
    return TaughtViews(torch.cat(pixels), torch.cat(embeddings))


def _grey(pixels_N3SS: Tensor) -> Tensor:
    return (pixels_N3SS * torch.tensor(_GREY)[:, None, None]).sum(1, keepdim=True).round()


def draw_views(canvases_NS1: Tensor, others_NS1: Tensor, chip_px: int, generator: torch.Generator) -> Tensor:
    """Blend, bend, turn and cut.

    Args:
        canvases_NS1: (N, 1, S, S) float grey aligned faces with their margin, 0-255.
        others_NS1: As many, to blend them with.
        chip_px: Side of the views.
        generator: Its state decides everything drawn.

    Returns:
        (N, 1, chip_px, chip_px) float32 whole numbers, 0-255.
    """
    count, side_px = len(canvases_NS1), canvases_NS1.shape[2]
    one, other = (_mirror_some(x, generator) for x in (canvases_NS1, others_NS1))
    kind = torch.rand(count, 1, 1, 1, generator=generator)
    whole = 0.25 + 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    places = torch.randn(count, 1, _MASK_PLACES, _MASK_PLACES, generator=generator)
    patchy = torch.sigmoid(_MASK_SHARPNESS * _stretch(places, side_px))
    share = torch.where(kind < SINGLE_SHARE, 0.0, torch.where(kind < SINGLE_SHARE + WHOLE_SHARE, whole, patchy))
    blended = one * (1 - share) + _in_the_light_of(one, other) * share
    return _bend(blended, chip_px, generator).clamp(0, 255).round()


def worsen(views_N1SS: Tensor, generator: torch.Generator) -> Tensor:
    """What a student is shown of a view its teacher saw clearly: other light, less detail, noise."""
    count, side_px = len(views_N1SS), views_N1SS.shape[2]

    def some() -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).float()

    def swing(size: float) -> Tensor:
        return size * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)

    x = views_N1SS * (1 + some() * swing(0.25)) + some() * swing(30.0)
    blurred = torch.rand(count, generator=generator) < 0.15
    if blurred.any():
        share = 0.35 + 0.4 * float(torch.rand((), generator=generator))
        far = functional.interpolate(x[blurred], size=round(share * side_px), mode="area")
        x[blurred] = functional.interpolate(far, size=side_px, mode="bilinear")
    deviation = some() * 6 * torch.rand(count, 1, 1, 1, generator=generator)
    return (x + deviation * torch.randn(x.shape, generator=generator)).clamp(0, 255)


def _mirror_some(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(-1), x)


def _in_the_light_of(one: Tensor, other: Tensor) -> Tensor:
    """`other` with the brightness and contrast of `one`."""
    (mean, deviation), (own_mean, own_deviation) = (
        (x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True).clamp(min=1.0)) for x in (one, other)
    )
    return (other - own_mean) / own_deviation * deviation + mean


def _bend(x: Tensor, chip_px: int, generator: torch.Generator) -> Tensor:
    count, scale = len(x), chip_px / x.shape[2]

    def swing(size: float) -> Tensor:
        return 1 + size * (2 * torch.rand(count, generator=generator) - 1)

    angle = _TURN_RAD * torch.randn(count, generator=generator)
    zoom, stretch = swing(_ZOOM), swing(_STRETCH)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = angle.cos() * zoom * stretch, -angle.sin() * zoom
    affine[:, 1, 0], affine[:, 1, 1] = angle.sin() * zoom, angle.cos() * zoom / stretch
    affine[:, :, 2] = _SHIFT * torch.randn(count, 2, generator=generator)
    affine[:, :, :2] *= scale
    grid = functional.affine_grid(affine, [count, 1, chip_px, chip_px], align_corners=False)
    bends = _BEND * torch.randn(count, 2, _BEND_PLACES, _BEND_PLACES, generator=generator)
    grid = grid + _stretch(bends, chip_px).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _stretch(x: Tensor, side_px: int) -> Tensor:
    return functional.interpolate(x, size=side_px, mode="bicubic", align_corners=True)
