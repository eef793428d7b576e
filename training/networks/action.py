"""CnnLstm: what a person does in one window, from pictures of the body, how they change, and the motion of its box.

Shape legend, at the end of every tensor's name:
    N windows · T frames of a window · H, W picture side in pixels · C channels or features
    M motion values a frame · K actions
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from services.perception.windows import MOTION_CHANNELS


class CnnLstm(nn.Module):
    """A small frame CNN, the box's motion beside it, a bidirectional LSTM, attention over time.

    Each picture is seen together with its difference to the one before: what moves is told apart from what is merely
    bright, whatever people wear. Pixels arrive as uint8 and are scaled inside, so an engine is fed what the decoder
    gives.

    Source: temporal differences as the second stream's input, TSN, arXiv:1608.00859 (there beside optical flow).
    """

    def __init__(
        self, *, classes: int, size_px: int, channels: tuple[int, ...], lstm_units: int, dropout: float
    ) -> None:
        super().__init__()
        features = 2 * lstm_units
        # Its statistics become part of the convolutions when it is exported: nothing is left to compute.
        self.pictures = FrameCnn(size_px, channels, features, normalise=nn.BatchNorm2d)
        # A layer of its own: five small numbers beside hundreds of features would go unheard.
        self.motion = nn.Linear(MOTION_CHANNELS, features)
        self.join = nn.Sequential(nn.LayerNorm(features), nn.GELU())
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(features, lstm_units, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(features, 1)
        self.head = nn.Linear(2 * features, classes)

    def forward(self, rgb_NTHWC: Tensor, motion_NTM: Tensor) -> Tensor:
        """Answer logits (N, K) for uint8 pictures (N, T, H, W, 3) and float32 motion (N, T, 5)."""
        frames = rgb_NTHWC.shape[1]
        rgb_NTCHW = rgb_NTHWC.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        change_NTCHW = rgb_NTCHW[:, 1:] - rgb_NTCHW[:, :-1]
        # The first picture has none before it, and borrows the next one's change.
        change_NTCHW = torch.cat([change_NTCHW[:, :1], change_NTCHW], dim=1)
        both_XCHW = torch.cat([rgb_NTCHW, change_NTCHW], dim=2).flatten(0, 1)
        pictures_NTC = self.pictures(both_XCHW).unflatten(0, (-1, frames))
        joined_NTC = self.join(pictures_NTC + self.motion(motion_NTM))
        states_NTC, _ = self.lstm(self.dropout(joined_NTC))
        weights_NT1 = self.attention(states_NTC).softmax(dim=1)
        attended_NC = (weights_NT1 * states_NTC).sum(dim=1)
        middle_NC = states_NTC[:, frames // 2]
        logits_NK: Tensor = self.head(self.dropout(torch.cat([attended_NC, middle_NC], dim=1)))
        return logits_NK


class FrameCnn(nn.Module):
    """(X, 6, H, W) pictures and their changes to (X, C) features; every stage halves the side.

    The last stage is read place by place, not averaged: where limbs are in the crop is what an
    action looks like.
    """

    def __init__(
        self, size_px: int, channels: tuple[int, ...], features: int, *, normalise: Callable[[int], nn.Module]
    ) -> None:
        """Weights from scratch, by torch's seed.

        Args:
            size_px: H and W.
            channels: Of each stage.
            features: C.
            normalise: Makes the normalisation of so many channels.
        """
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((6, *channels), channels, strict=False):
            stages += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                normalise(after),
                nn.ReLU(inplace=True),
            ]
        self.stages = nn.Sequential(*stages)
        side = math.ceil(size_px / 2 ** len(channels))
        self.places = nn.Linear(channels[-1] * side**2, features)

    def forward(self, both_XCHW: Tensor) -> Tensor:
        """Features of each picture."""
        features_XC: Tensor = self.places(self.stages(both_XCHW).flatten(1))
        return features_XC
