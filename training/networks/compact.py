"""CompactNetwork: a small face network that can begin with the weights of dlib's and learn to do with fewer pixels.

Cost follows the pixels; distillation teaches the layers their new scale.

Shape legend, at the end of every tensor's name:
    B faces · C channels · S side of the chip in pixels · H, W sides of a map · D numbers of an embedding
"""

from itertools import pairwise

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING = 128
# Channels and stride of each residual block. Source: dlib, dnn_face_recognition_ex.cpp.
_BLOCKS = (
    *((32, 1),) * 3,
    *((64, 2), *((64, 1),) * 3),
    *((128, 2), *((128, 1),) * 2),
    *((256, 2), *((256, 1),) * 2, (256, 2)),
)
_STEM = 32
_GREY = (0.299, 0.587, 0.114)
_GREY_MEAN, _SCALE = 117.0, 256.0


class CompactNetwork(nn.Module):
    """Chips, RGB 0-255, to embeddings of 128 numbers. It sees luminance alone: what it learns from is grey."""

    grey: Tensor

    def __init__(self) -> None:
        """Make one with random weights."""
        super().__init__()
        self.register_buffer("grey", torch.tensor(_GREY)[:, None, None])
        self.stem = nn.Conv2d(1, _STEM, 7, stride=2)
        before = (_STEM, *(channels for channels, _ in _BLOCKS[:-1]))
        self.blocks = nn.ModuleList(PlainBlock(b, *block) for b, block in zip(before, _BLOCKS, strict=True))
        self.project = nn.Linear(_BLOCKS[-1][0], EMBEDDING)

    def forward(self, chips_B3SS: Tensor) -> Tensor:
        """(B, D), not of unit length."""
        grey_B1SS = (chips_B3SS * self.grey).sum(1, keepdim=True)
        x = functional.relu(self.stem((grey_B1SS - _GREY_MEAN) / _SCALE))
        x = functional.max_pool2d(x, 3, stride=2)
        for block in self.blocks:
            x = block(x)
        embeddings_BD: Tensor = self.project(x.mean((2, 3)))
        return embeddings_BD

    def begin_as(self, converted: onnx.ModelProto, mean_D: Tensor) -> None:
        """Take over the weights of dlib's network, as services.models.conversion wrote it.

        A stem that reads three equal channels does the same as one that reads their sum.

        Args:
            converted: Its 150 px form.
            mean_D: Its mean embedding, which is taken away: what all faces share tells nobody apart.
        """
        arrays = [torch.from_numpy(numpy_helper.to_array(x).copy()) for x in converted.graph.initializer]
        mean_3, layers = arrays[0], [x for x in arrays if x.ndim == 4]
        biases = [following for array, following in pairwise(arrays) if array.ndim == 4]
        projection_CD = next(x for x in arrays if x.ndim == 2)
        assert self.stem.bias is not None
        with torch.no_grad():
            self.stem.weight.copy_(layers[0].sum(1, keepdim=True))
            shift = (_GREY_MEAN - mean_3.reshape(1, 3, 1, 1)) / _SCALE
            self.stem.bias.copy_(biases[0] + (layers[0] * shift).sum((1, 2, 3)))
            own = [m for m in self.blocks.modules() if isinstance(m, nn.Conv2d)]
            for convolution, weights, bias in zip(own, layers[1:], biases[1:], strict=True):
                convolution.weight.copy_(weights)
                assert convolution.bias is not None  # every convolution here has one
                convolution.bias.copy_(bias)
            self.project.weight.copy_(projection_CD.T)
            self.project.bias.copy_(-mean_D)


class PlainBlock(nn.Module):
    """Two convolutions beside a shortcut that has no weights: halved by averaging, new channels zero."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=int(stride == 1))
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self._stride, self._new = stride, after - before

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, after, H, W), or half the sides rounded down with a stride of 2; they must be at least 2."""
        if self._stride == 1:
            return functional.relu(x_BCHW + self.second(functional.relu(self.first(x_BCHW))))
        side = x_BCHW.shape[2] // 2
        # An even side needs one more line at its end for as many places as the shortcut has.
        wide_BCHW = functional.pad(x_BCHW, (0, 1, 0, 1)) if x_BCHW.shape[2] % 2 == 0 else x_BCHW
        deep_BCHW = self.second(functional.relu(self.first(wide_BCHW)))
        short_BCHW = functional.pad(functional.avg_pool2d(x_BCHW, 2), (0, 0, 0, 0, 0, self._new))
        return functional.relu(deep_BCHW[:, :, :side, :side] + short_BCHW)
