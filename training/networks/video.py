"""Networks that read whole windows of pictures: three 3D residual networks, and a frame CNN read by a recurrent one.

Shape legend, at the end of every tensor's name:
    N windows · T frames · H, W picture side in pixels · C channels or features · X = N·T pictures · K actions
"""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from services.contracts.errors import BadInput, MissingModel
from training.config import RecurrentParams, ResidualParams
from training.networks.action import FrameCnn

ResidualKind = Literal["r3d_18", "r2plus1d_18", "mc3_18"]
RecurrentKind = Literal["cnn_lstm", "cnn_gru"]
VideoKind = ResidualKind | RecurrentKind
RESIDUAL_KINDS: tuple[ResidualKind, ...] = get_args(ResidualKind)
RECURRENT_KINDS: tuple[RecurrentKind, ...] = get_args(RecurrentKind)
VIDEO_KINDS: tuple[VideoKind, ...] = (*RESIDUAL_KINDS, *RECURRENT_KINDS)

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "r3d_18": torchvision.models.video.r3d_18,
    "r2plus1d_18": torchvision.models.video.r2plus1d_18,
    "mc3_18": torchvision.models.video.mc3_18,
}
# Of all three, before their classifier.
_RESIDUAL_FEATURES = 512
_RESIDUAL_STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
# Of the pictures Kinetics weights were trained on; torchvision.models.video.R3D_18_Weights.
_MEAN = (0.43216, 0.394666, 0.37645)
_DEVIATION = (0.22803, 0.22145, 0.216989)


class VideoNetwork(nn.Module):
    """A trunk that turns windows into features, and a linear layer that turns those into actions.

    Pixels arrive as uint8 and are scaled inside, so an engine is fed what the decoder gives. Where `changes` is set
    the trunk reads the difference of each picture to the one before instead of the picture: what moves, whatever
    people wear and wherever they stand. The first picture has none before it and borrows the next one's.

    Source: temporal differences as a stream of their own, TSN, arXiv:1608.00859.
    """

    def __init__(self, trunk: nn.Module, features: int, *, classes: int, dropout: float, changes: bool = False) -> None:
        """Take a trunk from pictures (N, 3, T, H, W) to features (N, C)."""
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)
        self._changes = changes
        self.register_buffer("mean_C111", torch.tensor(_MEAN)[:, None, None, None], persistent=False)
        self.register_buffer("deviation_C111", torch.tensor(_DEVIATION)[:, None, None, None], persistent=False)

    def embed(self, rgb_NTHWC: Tensor) -> Tensor:
        """(N, C) features of uint8 windows (N, T, H, W, 3)."""
        x_NCTHW = rgb_NTHWC.permute(0, 4, 1, 2, 3).float() / 255
        x_NCTHW = (x_NCTHW - self.get_buffer("mean_C111")) / self.get_buffer("deviation_C111")
        features_NC: Tensor = self.trunk(_change(x_NCTHW) if self._changes else x_NCTHW)
        return features_NC

    def forward(self, rgb_NTHWC: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits_NK: Tensor = self.head(self.dropout(self.embed(rgb_NTHWC)))
        return logits_NK

    def stages(self) -> list[nn.Module]:
        """Parts from the pictures to the answer, for freezing schedules."""
        if isinstance(self.trunk, RecurrentTrunk):
            return [*self.trunk.children(), self.head]
        return [*(self.trunk.get_submodule(name) for name in _RESIDUAL_STAGES), self.head]

    def load_trunk(self, path: Path) -> None:
        """Take pre-trained weights, all but the classifier: what `training.clips pretrain` wrote, or torchvision's own.

        Raises:
            MissingModel: There is no such file.
            BadInput: It does not hold weights of this kind of network.
        """
        if not path.is_file():
            raise MissingModel(
                f"no weights at {path}: make some with `python -m training.clips pretrain`, or leave out"
            )
        try:
            if path.suffix == ".safetensors":
                state = load_file(path)
            else:
                # torchvision's format; nothing but tensors is unpickled.
                state = torch.load(path, map_location="cpu", weights_only=True)
            self.trunk.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
        # Each reader has errors of its own for a file that is something else.
        except Exception as fault:
            raise BadInput(f"{path} does not hold weights of such a network: {_first_fault(fault)}") from fault


class RecurrentTrunk(nn.Module):
    """A small CNN sees each picture together with its change; an LSTM or GRU reads what it saw."""

    def __init__(self, kind: RecurrentKind, params: RecurrentParams, size_px: int) -> None:
        """Weights from scratch, by torch's seed."""
        super().__init__()
        features = 2 * params.units
        # Not by batches: these are of few clips, and the pictures of a clip are near copies.
        self.pictures = FrameCnn(size_px, params.channels, features, normalise=_normalise_groups)
        cell = nn.LSTM if kind == "cnn_lstm" else nn.GRU
        self.sequence = Sequence(cell, features, params)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """Features (N, C)."""
        both_XCHW = torch.cat([x_NCTHW, _change(x_NCTHW)], dim=1).transpose(1, 2).flatten(0, 1)
        features_NTC = self.pictures(both_XCHW).unflatten(0, (-1, x_NCTHW.shape[2]))
        features_NC: Tensor = self.sequence(features_NTC)
        return features_NC


class Sequence(nn.Module):
    """Features of each picture to one for all: by attention over all states, or the last state of each direction."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], features: int, params: RecurrentParams) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.dropout = nn.Dropout(params.dropout)
        self.cell = cell(features, params.units, batch_first=True, bidirectional=params.bidirectional)
        self.units = params.units
        self.features = params.units * (2 if params.bidirectional else 1)
        # No bias: it would shift all times alike, which a softmax does not feel.
        self.attention = nn.Linear(self.features, 1, bias=False) if params.reading == "attention" else None

    def forward(self, features_NTC: Tensor) -> Tensor:
        """(N, C)."""
        joined_NTC = nn.functional.gelu(self.norm(features_NTC))
        states_NTC, _ = self.cell(self.dropout(joined_NTC))
        if self.attention is not None:
            weights_NT1 = self.attention(states_NTC).softmax(dim=1)
            attended_NC: Tensor = (weights_NT1 * states_NTC).sum(dim=1)
            return attended_NC
        # The backward direction has read everything when it is at the first picture.
        return torch.cat([states_NTC[:, -1, : self.units], states_NTC[:, 0, self.units :]], dim=1)


def make_video_network(
    kind: VideoKind, params: ResidualParams | RecurrentParams, *, classes: int, size_px: int
) -> VideoNetwork:
    """A fresh network; torch's seed decides its weights.

    Source: R3D, R(2+1)D and MC3: Tran et al. 2018, arXiv:1711.11248.
    """
    if isinstance(params, ResidualParams):
        layers = _BUILDERS[kind](weights=None)
        layers.fc = nn.Identity()
        return VideoNetwork(layers, _RESIDUAL_FEATURES, classes=classes, dropout=params.dropout, changes=params.changes)
    recurrent: RecurrentKind = "cnn_gru" if kind == "cnn_gru" else "cnn_lstm"
    trunk = RecurrentTrunk(recurrent, params, size_px)
    return VideoNetwork(trunk, trunk.sequence.features, classes=classes, dropout=params.dropout)


def fold_statistics(network: nn.Module) -> nn.Module:
    """A copy that answers the same with fewer steps: what batch normalisation learned becomes weights of convolutions.

    Networks are exported like this: eight bits are then chosen for what is really computed, and ONNX Runtime refuses
    what the exporter makes of convolutions without a bias.
    """
    folded = copy.deepcopy(network).eval()
    for part in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        for index, (one, following) in enumerate(itertools.pairwise(list(part))):
            # In R(2+1)D the convolution before is the last of a pair.
            holder, place = (one, len(one) - 1) if isinstance(one, nn.Sequential) else (part, index)
            before = holder[place]
            if isinstance(before, nn.Conv3d) and isinstance(following, nn.BatchNorm3d):
                holder[place] = fuse_conv_bn_eval(before, following)
                part[index + 1] = nn.Identity()
    return folded


def _normalise_groups(channels: int) -> nn.Module:
    return nn.GroupNorm(max(1, channels // 8), channels)


def _change(x_NCTHW: Tensor) -> Tensor:
    change_NCTHW = x_NCTHW[:, :, 1:] - x_NCTHW[:, :, :-1]
    return torch.cat([change_NCTHW[:, :, :1], change_NCTHW], dim=2)


def _first_fault(fault: Exception) -> str:
    lines = str(fault).splitlines() or [type(fault).__name__]
    return lines[min(1, len(lines) - 1)].strip()
