"""One training step under ArcFace: ours beside the formulation of insightface's arcface_torch, written plainly."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.bench.table import Bar, BenchTable, Spread
from training.networks.face import FaceNetwork, FaceShape
from training.objectives.margins import ArcFace

CLASSES, BATCH, DIMENSION, CHIP_PX = 100_000, 64, 512, 112
SCALE, MARGIN_RAD, SAMPLE = 64.0, 0.5, 0.1


class PlainArcFace(nn.Module):
    """All logits to angles, the margin added to the right ones, all back again.

    Source: arXiv:1801.07698 in the manner of insightface's arcface_torch, written anew.
    """

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.normal(0, 0.01, (classes, dimension)))

    def forward(self, embeddings_BD: Tensor, class_B: Tensor) -> Tensor:
        """Mean cross-entropy."""
        cosine_BK = functional.linear(functional.normalize(embeddings_BD), functional.normalize(self.weight))
        cosine_BK = cosine_BK.clamp(-1, 1)
        rows_B = torch.arange(len(class_B))
        with torch.no_grad():
            # In place and behind autograd's back: gradients pass as if the margin were not there.
            cosine_BK.arccos_()
            cosine_BK[rows_B, class_B] += MARGIN_RAD
            cosine_BK.cos_()
        return functional.cross_entropy(cosine_BK * SCALE, class_B)


def measure_step(*, runs: int) -> BenchTable:
    """CPU seconds of a step of network and head together, and of the head alone; bytes the head's step keeps."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = FaceNetwork(FaceShape(depth=18, embedding=DIMENSION), CHIP_PX).to(memory_format=torch.channels_last)
    chips = torch.rand(BATCH, 3, CHIP_PX, CHIP_PX, generator=generator) * 255
    classes = torch.randint(CLASSES, (BATCH,), generator=generator)
    heads: dict[str, nn.Module] = {
        "plain arcface_torch formulation": PlainArcFace(DIMENSION, CLASSES),
        "ours": ArcFace(DIMENSION, CLASSES, scale=SCALE, margin_rad=MARGIN_RAD),
        f"ours, {SAMPLE:.0%} of the classes": ArcFace(
            DIMENSION, CLASSES, scale=SCALE, margin_rad=MARGIN_RAD, sample=SAMPLE
        ),
    }
    embeddings = torch.randn(BATCH, DIMENSION, generator=generator)
    alone: dict[str, list[float]] = {name: [] for name in heads}
    for _ in range(runs + 1):
        for name, head in heads.items():
            alone[name].append(_time(partial(_step, head, lambda: embeddings.clone().requires_grad_(), classes)))
    whole: dict[str, list[float]] = {name: [] for name in heads}
    for _ in range(max(2, runs // 2)):
        for name, head in heads.items():
            whole[name].append(_time(partial(_step, head, lambda: network(chips), classes)))
    rows, medians, megabytes = [], {}, {}
    for name, head in heads.items():
        # The first run warms caches up.
        own, both = Spread.of(alone[name][1:]), Spread.of(whole[name])
        medians[name], megabytes[name] = both.median, kept_bytes(head, embeddings, classes) / 1e6
        rows.append((name, both.median, f"{both.minimum:.2f} to {both.maximum:.2f}", own.median, megabytes[name]))
    plain, ours, sampled = heads
    return BenchTable(
        name="step",
        title="step: ArcFace over 100,000 classes, forwards and backwards",
        protocol=(
            f"IR-18 at {CHIP_PX} px, embedding {DIMENSION}, {CLASSES} classes, batch {BATCH}, float32, "
            f"{torch.get_num_threads()} thread(s); CPU seconds, which other work on the machine "
            f"disturbs least; heads in turns, {max(2, runs // 2)} whole steps and {runs} of the head alone; kept: "
            "tensors the head saves for its backward pass."
        ),
        columns=("head", "step, CPU s", "range", "head alone, CPU s", "kept, MB"),
        rows=tuple(rows),
        bars=(
            Bar("ours, times the plain step", medians[ours] / medians[plain], "<= 1", medians[ours] <= medians[plain]),
            Bar(
                "kept with sampling, times the plain head's",
                megabytes[sampled] / megabytes[plain],
                "< 1",
                megabytes[sampled] < megabytes[plain],
            ),
        ),
    )


def _step(head: nn.Module, embed: Callable[[], Tensor], class_B: Tensor) -> None:
    head.zero_grad()
    head(embed(), class_B).backward()


def _time(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def kept_bytes(head: nn.Module, embeddings_BD: Tensor, class_B: Tensor) -> int:
    """Bytes of the tensors that a forward pass saves for the backward one, the head's own weights apart."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {parameter.untyped_storage().data_ptr() for parameter in head.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        head(embeddings_BD.clone().requires_grad_(), class_B)
    return sum(size for pointer, size in kept.items() if pointer not in own)
