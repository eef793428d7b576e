"""CnnLstm: what a person does in one window, from pictures of the body and the motion of its box.

Shape legend, at the end of every tensor's name:
    N windows · T frames of a window · H, W picture side in pixels · C channels or features
    M motion values a frame · K actions
"""

import torch
from torch import Tensor, nn

from services.perception.windows import MOTION_CHANNELS


class CnnLstm(nn.Module):
    """A small frame CNN, the box's motion beside it, a bidirectional LSTM, attention over time.

    Pixels arrive as uint8 and are scaled inside, so an engine is fed what the decoder gives.
    """

    def __init__(self, classes: int, channels: tuple[int, ...], lstm_units: int, dropout: float) -> None:
        super().__init__()
        self.pictures = FrameCnn(channels)
        features = 2 * lstm_units
        self.join = nn.Sequential(
            nn.Linear(channels[-1] + MOTION_CHANNELS, features), nn.LayerNorm(features), nn.GELU()
        )
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(features, lstm_units, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(features, 1)
        self.head = nn.Linear(2 * features, classes)

    def forward(self, rgb_NTHWC: Tensor, motion_NTM: Tensor) -> Tensor:
        """Answer logits (N, K) for uint8 pictures (N, T, H, W, 3) and float32 motion (N, T, 5)."""
        frames = rgb_NTHWC.shape[1]
        rgb_XCHW = rgb_NTHWC.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        pictures_NTC = self.pictures(rgb_XCHW).unflatten(0, (-1, frames))
        joined_NTC = self.join(torch.cat([pictures_NTC, motion_NTM], dim=2))
        states_NTC, _ = self.lstm(self.dropout(joined_NTC))
        weights_NT1 = self.attention(states_NTC).softmax(dim=1)
        attended_NC = (weights_NT1 * states_NTC).sum(dim=1)
        middle_NC = states_NTC[:, frames // 2]
        logits_NK: Tensor = self.head(self.dropout(torch.cat([attended_NC, middle_NC], dim=1)))
        return logits_NK


class FrameCnn(nn.Module):
    """(X, 3, H, W) pictures to (X, C) features; every stage halves the side.

    GroupNorm rather than BatchNorm: the pictures of a window are near copies, so a batch's
    statistics are those of few people and unlike the ones met later.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            stages += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(max(1, after // 8), after),
                nn.ReLU(inplace=True),
            ]
        self.stages = nn.Sequential(*stages)

    def forward(self, rgb_XCHW: Tensor) -> Tensor:
        """Average the last stage over the picture."""
        features_XC: Tensor = self.stages(rgb_XCHW).mean(dim=(2, 3))
        return features_XC
