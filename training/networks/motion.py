"""How things move in a window, told without learning, and a Fisher vector over it: what wins where clips are few.

Optical flow becomes histograms of directions in small cells; cuboids of neighbouring cells are described by
where a mixture of Gaussians would have to move to explain them; a linear layer reads that. All of it is one graph
of plain tensor operations, so it is exported and served like any network.

Shape legend, at the end of every tensor's name:
    N windows · T frames · H, W picture side · X = N·(T-1) pairs of pictures · B directions · h, w cells
    S time slices · Q = S'·h'·w' cuboids of a window · D descriptor · R reduced descriptor · G Gaussians
    F Fisher vector · K actions

Sources: Lucas & Kanade 1981 and Bouguet 2001 (pyramidal flow); Laptev et al. 2008 (HOG and HOF cuboids);
Dalal et al. 2006 (motion boundaries); Perronnin et al. 2010 (improved Fisher vector).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

DIRECTIONS = 8
KINDS = ("flow", "boundary_x", "boundary_y", "shape")
_LEVELS = 4
_STEPS = 2
_CELL_PX = 8
_CUBE = 3
# Grey levels of 0-1, squared, a pixel: keeps the flow at rest where there is no texture to follow.
_STILLNESS = 0.002
_SLOW_PX = 0.4
# A cuboid that moves less, in pixels a frame, tells nothing.
_LEAST_MOTION_PX = 0.15
# In a mirror each direction becomes another; of changes of the flow across, the sign changes twice.
_MIRRORED = [(DIRECTIONS // 2 - b) % DIRECTIONS for b in range(DIRECTIONS)]
_MIRRORED_BOUNDARY_X = [-b % DIRECTIONS for b in range(DIRECTIONS)]
# Numbers that say how much moves, beside the Fisher vector, which says how.
AMOUNTS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What moves in N windows, in slices of time and cells of 8×8 pixels.

    Attributes:
        by_kind: For each of KINDS, (N, S, B, h, w): direction histograms; flow has one more bin, for standing still.
        speed: (N, S, 1, h, w): pixels a frame.
    """

    by_kind: dict[str, Tensor]
    speed: Tensor

    def mirrored(self) -> "Motion":
        """As it would be in a mirror."""
        orders = {
            "flow": [*_MIRRORED, DIRECTIONS],
            "boundary_x": _MIRRORED_BOUNDARY_X,
            "boundary_y": _MIRRORED,
            "shape": _MIRRORED,
        }
        by_kind = {kind: field.flip(4)[:, :, orders[kind]] for kind, field in self.by_kind.items()}
        return Motion(by_kind, self.speed.flip(4))

    def cuboids(self) -> "Cuboids":
        """Blocks of 3×3×3 neighbours, each described whole."""
        widths = [self.by_kind[kind].shape[2] for kind in KINDS]
        together_NSChw = torch.cat([*(self.by_kind[kind] for kind in KINDS), self.speed], dim=2)
        *cubes, speed_NQ27 = torch.split(_cubes(together_NSChw), [*widths, 1], dim=3)
        speed_NQ = speed_NQ27.mean(dim=(2, 3))
        by_kind = {}
        for kind, cubes_NQ27B in zip(KINDS, cubes, strict=True):
            cubes_NQD = cubes_NQ27B.flatten(2)
            by_kind[kind] = (cubes_NQD / (cubes_NQD.sum(dim=2, keepdim=True) + 1e-3)).sqrt()
        height, width = (side - _CUBE + 1 for side in self.speed.shape[-2:])
        return Cuboids(by_kind, _places(speed_NQ, height, width), speed_NQ > _LEAST_MOTION_PX)

    def amounts(self) -> Tensor:
        """(N, 9): mean, spread and peak over time of speed, of the share that moves, and of the flow's boundaries."""
        boundary_NShw = self.by_kind["boundary_x"].sum(2) + self.by_kind["boundary_y"].sum(2)
        over_time = [
            self.speed.mean(dim=(2, 3, 4)),
            (1 - self.by_kind["flow"][:, :, -1]).mean(dim=(2, 3)),
            boundary_NShw.mean(dim=(2, 3)),
        ]
        numbers = [part for one in over_time for part in (one.mean(1), _spread(one), one.amax(1))]
        return torch.stack(numbers, dim=1).log1p()


@dataclass(frozen=True, slots=True, eq=False)
class Cuboids:
    """Descriptors of windows' cuboids.

    Attributes:
        by_kind: For each of KINDS, (N, Q, D): square roots of direction histograms that sum to one.
        places: (N, Q, 2): across from the middle of all motion and down from the picture's, in picture sides.
        moving: (N, Q) bool: whether anything moves there.
    """

    by_kind: dict[str, Tensor]
    places: Tensor
    moving: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """How descriptors of one kind are reduced and which Gaussians explain them.

    Attributes:
        mean, axes: (D,) and (D, R-2): principal components, scaled to about unit variance.
        weights, means, deviations: (G,), (G, R) and (G, R): a mixture over reduced descriptors with the place appended.
    """

    mean: Tensor
    axes: Tensor
    weights: Tensor
    means: Tensor
    deviations: Tensor


class MotionField(nn.Module):
    """Windows to what moves where; nothing in it is learned."""

    def __init__(self, slice_frames: int) -> None:
        """Average over so many pairs of pictures; a fifth of a second tells a push from a touch."""
        super().__init__()
        self.slice_frames = slice_frames
        angle_B = 2 * math.pi * torch.arange(DIRECTIONS) / DIRECTIONS
        compass = torch.stack([angle_B.cos(), angle_B.sin()], dim=1)[:, :, None, None]
        self.register_buffer("compass_B211", compass, persistent=False)
        self.register_buffer("luma_C", torch.tensor([0.299, 0.587, 0.114]), persistent=False)

    def forward(self, rgb_NTHWC: Tensor) -> Motion:
        """Measure uint8 windows (N, T, H, W, 3); H and W are multiples of 8 pixels, from 64 on."""
        count = rgb_NTHWC.shape[0]
        grey_NTHW = (rgb_NTHWC.float() * self.get_buffer("luma_C")).sum(-1) / 255
        before_X1HW = grey_NTHW[:, :-1].flatten(0, 1)[:, None]
        after_X1HW = grey_NTHW[:, 1:].flatten(0, 1)[:, None]
        flow_X2HW = estimate_flow(before_X1HW, after_X1HW)
        speed_X1HW = _length(flow_X2HW)
        moving_X1HW = (speed_X1HW > _SLOW_PX).float()
        fields = {
            "flow": torch.cat([self._directions(flow_X2HW) * moving_X1HW, 1 - moving_X1HW], dim=1),
            "boundary_x": 4 * self._directions(torch.cat(_gradients(flow_X2HW[:, :1]), dim=1)),
            "boundary_y": 4 * self._directions(torch.cat(_gradients(flow_X2HW[:, 1:]), dim=1)),
            "shape": 10 * self._directions(torch.cat(_gradients(before_X1HW), dim=1)),
        }
        return Motion(
            {kind: _pool(field, count, self.slice_frames) for kind, field in fields.items()},
            _pool(speed_X1HW, count, self.slice_frames),
        )

    def _directions(self, vectors_X2HW: Tensor) -> Tensor:
        """(X, B, H, W): length, shared between the two nearest directions; no arctangent, so every engine runs it."""
        along_XBHW = functional.conv2d(vectors_X2HW, self.get_buffer("compass_B211"))
        reach = math.cos(2 * math.pi / DIRECTIONS)
        return functional.relu(along_XBHW - reach * _length(vectors_X2HW)) / (1 - reach)


class FisherMotion(nn.Module):
    """Windows to logits by a Fisher vector over their cuboids, answering the same for a window and its mirror image.

    Attributes:
        amount_share: Weight of how much moves beside how it moves.
    """

    amount_share = 0.1

    def __init__(
        self,
        codebooks: dict[str, Codebook],
        *,
        classes: int,
        slice_frames: int,
        amount_mean: Tensor | None = None,
        amount_deviation: Tensor | None = None,
    ) -> None:
        """Take what was learned without labels; the linear layer starts at zero.

        Args:
            codebooks: One for each of KINDS.
            classes: K.
            slice_frames: See MotionField.
            amount_mean: (9,) of Motion.amounts over training clips.
            amount_deviation: (9,) likewise.
        """
        super().__init__()
        self.motion = MotionField(slice_frames)
        self.books = nn.ModuleDict({kind: _FisherLayer(codebooks[kind]) for kind in KINDS})
        self.register_buffer("amount_mean", torch.zeros(AMOUNTS) if amount_mean is None else amount_mean)
        self.register_buffer("amount_deviation", torch.ones(AMOUNTS) if amount_deviation is None else amount_deviation)
        self.length = sum(2 * codebooks[kind].means.numel() for kind in KINDS) + AMOUNTS
        self.head = nn.Linear(self.length, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def embed(self, motion: Motion) -> Tensor:
        """(N, F): for each kind a Fisher vector of length 1 (0 where nothing moves); how much moves at the end."""
        cuboids = motion.cuboids()
        weight_NQ = cuboids.moving.float()
        parts = [self.books[kind](cuboids.by_kind[kind], cuboids.places, weight_NQ) for kind in KINDS]
        amounts = (motion.amounts() - self.get_buffer("amount_mean")) / self.get_buffer("amount_deviation")
        return torch.cat([*parts, self.amount_share * amounts], dim=1)

    def forward(self, rgb_NTHWC: Tensor) -> Tensor:
        """Logits (N, K) of uint8 windows (N, T, H, W, 3)."""
        motion = self.motion(rgb_NTHWC)
        mirrored = motion.mirrored()
        both = Motion(
            {kind: torch.cat([motion.by_kind[kind], mirrored.by_kind[kind]]) for kind in KINDS},
            torch.cat([motion.speed, mirrored.speed]),
        )
        logits_NK: Tensor = self.head(self.embed(both).reshape(2, -1, self.length).mean(dim=0))
        return logits_NK


class _FisherLayer(nn.Module):
    """Descriptors of one kind to an improved Fisher vector."""

    def __init__(self, book: Codebook) -> None:
        super().__init__()
        precision_GR = book.deviations**-2
        # log w - sum(log s) - ||(x - m) / s||² / 2, as one product with x² and one with x.
        offset_G = book.weights.log() - book.deviations.log().sum(1) - (book.means**2 * precision_GR).sum(1) / 2
        for name, value in (
            ("mean_D", book.mean),
            ("axes_DR", book.axes),
            ("weights_G", book.weights),
            ("means_GR", book.means),
            ("deviations_GR", book.deviations),
            ("square_RG", -precision_GR.T / 2),
            ("linear_RG", (book.means * precision_GR).T),
            ("offset_G", offset_G),
        ):
            self.register_buffer(name, value.float().contiguous())

    def forward(self, descriptors_NQD: Tensor, places_NQ2: Tensor, weight_NQ: Tensor) -> Tensor:
        buffers = dict(self.named_buffers())
        reduced_NQR = (descriptors_NQD - buffers["mean_D"]) @ buffers["axes_DR"]
        x_NQR = torch.cat([reduced_NQR, 2 * places_NQ2], dim=2)
        square_NQR = x_NQR * x_NQR
        logit_NQG = square_NQR @ buffers["square_RG"] + x_NQR @ buffers["linear_RG"] + buffers["offset_G"]
        posterior_NGQ = (logit_NQG.softmax(dim=2) * weight_NQ[:, :, None]).transpose(1, 2)
        total_N11 = weight_NQ.sum(1).clamp(min=1)[:, None, None]
        zeroth_NG1 = posterior_NGQ.sum(2, keepdim=True) / total_N11
        first_NGR = posterior_NGQ @ x_NQR / total_N11
        second_NGR = posterior_NGQ @ square_NQR / total_N11
        means_GR, deviations_GR = buffers["means_GR"], buffers["deviations_GR"]
        share_G1 = buffers["weights_G"].sqrt()[:, None]
        by_mean_NGR = (first_NGR - zeroth_NG1 * means_GR) / (deviations_GR * share_G1)
        by_spread_NGR = (second_NGR - 2 * means_GR * first_NGR + zeroth_NG1 * (means_GR**2 - deviations_GR**2)) / (
            math.sqrt(2) * deviations_GR**2 * share_G1
        )
        fisher_NF = torch.cat([by_mean_NGR.flatten(1), by_spread_NGR.flatten(1)], dim=1)
        rooted_NF = fisher_NF.sign() * (fisher_NF.abs() + 1e-12).sqrt()
        lengths_N1 = (fisher_NF.abs() + 1e-12).sum(1, keepdim=True).sqrt()
        return rooted_NF / lengths_N1.clamp(min=1e-3)


def estimate_flow(before_X1HW: Tensor, after_X1HW: Tensor) -> Tensor:
    """Where each pixel of `before` went: (X, 2, H, W), right and down, pixels; grey pictures of 0 to 1.

    Motion of up to about 20 px is followed; where there is no texture the answer tends to zero.
    """
    befores, afters = [before_X1HW], [after_X1HW]
    for _ in range(_LEVELS - 1):
        befores.append(functional.avg_pool2d(befores[-1], 2))
        afters.append(functional.avg_pool2d(afters[-1], 2))
    flow_X2HW: Tensor | None = None
    for one_X1HW, other_X1HW in zip(reversed(befores), reversed(afters), strict=True):
        if flow_X2HW is None:
            flow_X2HW = torch.zeros_like(one_X1HW).expand(-1, 2, -1, -1)
        else:
            size = [one_X1HW.shape[2], one_X1HW.shape[3]]
            flow_X2HW = 2 * functional.interpolate(flow_X2HW, size=size, mode="bilinear", align_corners=False)
        across, down = _gradients(one_X1HW)
        tensor_X3HW = _average(torch.cat([across * across, across * down, down * down], dim=1), 7)
        xx, xy, yy = tensor_X3HW[:, 0:1] + _STILLNESS, tensor_X3HW[:, 1:2], tensor_X3HW[:, 2:3] + _STILLNESS
        for _ in range(_STEPS):
            change_X1HW = _shift(other_X1HW, flow_X2HW) - one_X1HW
            right_X2HW = _average(torch.cat([across * change_X1HW, down * change_X1HW], dim=1), 7)
            rx, ry = right_X2HW[:, 0:1], right_X2HW[:, 1:2]
            step_X2HW = torch.cat([xy * ry - yy * rx, xy * rx - xx * ry], dim=1) / (xx * yy - xy * xy)
            flow_X2HW = flow_X2HW + step_X2HW.clamp(-2, 2)
        flow_X2HW = _average(flow_X2HW, 3)
    assert flow_X2HW is not None
    return flow_X2HW


def _shift(picture_X1HW: Tensor, flow_X2HW: Tensor) -> Tensor:
    """The picture read where the flow points to."""
    height, width = picture_X1HW.shape[-2:]
    down = torch.linspace(-1, 1, height, device=picture_X1HW.device)[None, :, None]
    across = torch.linspace(-1, 1, width, device=picture_X1HW.device)[None, None, :]
    at_across = across + flow_X2HW[:, 0] * (2 / (width - 1))
    at_down = down + flow_X2HW[:, 1] * (2 / (height - 1))
    grid_XHW2 = torch.stack([at_across, at_down], dim=3)
    return functional.grid_sample(picture_X1HW, grid_XHW2, align_corners=True, padding_mode="border")


def _gradients(field_XCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down."""
    padded = functional.pad(field_XCHW, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return across, (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2


def _average(field_XCHW: Tensor, side: int) -> Tensor:
    padded = functional.pad(field_XCHW, (side // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, side, stride=1)


def _length(vectors_X2HW: Tensor) -> Tensor:
    return ((vectors_X2HW * vectors_X2HW).sum(dim=1, keepdim=True) + 1e-12).sqrt()


def _pool(field_XCHW: Tensor, windows: int, slice_frames: int) -> Tensor:
    """(N, S, C, h, w): means over cells of 8×8 pixels and slices of time."""
    cells_XChw = functional.avg_pool2d(field_XCHW, _CELL_PX)
    channels, height, width = cells_XChw.shape[1:]
    cells_NTChw = cells_XChw.reshape(windows, -1, channels, height, width)
    slices = cells_NTChw.shape[1] // slice_frames
    whole_NTChw = cells_NTChw[:, : slices * slice_frames]
    means_NSChw: Tensor = whole_NTChw.reshape(windows, slices, slice_frames, channels, height, width).mean(dim=2)
    return means_NSChw


def _spread(values_NS: Tensor) -> Tensor:
    """Standard deviation over slices; written out, since engines differ in theirs."""
    apart_NS = values_NS - values_NS.mean(1, keepdim=True)
    return ((apart_NS * apart_NS).mean(1) + 1e-12).sqrt()


def _cubes(slices_NSChw: Tensor) -> Tensor:
    """(N, Q, 27, C): every 3×3×3 block of neighbours."""
    slices, channels, height, width = slices_NSChw.shape[1:]
    blocks = [
        slices_NSChw[:, t : slices - _CUBE + 1 + t, :, y : height - _CUBE + 1 + y, x : width - _CUBE + 1 + x]
        for t in range(_CUBE)
        for y in range(_CUBE)
        for x in range(_CUBE)
    ]
    rows_NSChw = torch.cat(blocks, dim=2).permute(0, 1, 3, 4, 2).flatten(1, 3)
    return rows_NSChw.reshape(slices_NSChw.shape[0], -1, len(blocks), channels)


def _places(speed_NQ: Tensor, height: int, width: int) -> Tensor:
    """(N, Q, 2): across from the middle of all motion, down from the middle of the picture; in 16 cells."""
    speed_NShw = speed_NQ.reshape(speed_NQ.shape[0], -1, height, width)
    column_w = torch.arange(width, device=speed_NQ.device).float()
    row_h = torch.arange(height, device=speed_NQ.device).float()
    by_column_Nw = speed_NShw.sum(dim=(1, 2)) + 1e-9
    middle_N = (by_column_Nw * column_w).sum(1) / by_column_Nw.sum(1)
    across_NShw = ((column_w - middle_N[:, None]) / 16)[:, None, None, :].expand_as(speed_NShw)
    down_NShw = (row_h / max(height - 1, 1) - 0.5)[None, None, :, None].expand_as(speed_NShw)
    return torch.stack([across_NShw, down_NShw], dim=4).flatten(1, 3)
