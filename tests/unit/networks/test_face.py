import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.contracts.card import EmbeddingSpec, FaceChipSpec, Lineage, ModelCard
from services.models.engine import load_network
from training.export import describe_weights, export_embedder
from training.networks.attention import HardAttention, SoftAttention, make_attention
from training.networks.costs import count_costs
from training.networks.face import EightBit, FaceNetwork, FaceShape
from training.networks.fusion import AttentionFusion, make_fusion

ATTENTIONS = ("none", "soft", "spatial", "channel", "both", "hard")
FUSIONS = ("none", "add", "concat", "attention", "top_down")
SIZE_PX = 32


def make_network(**parts):
    torch.manual_seed(0)
    return FaceNetwork(FaceShape(width=8, embedding=16, **parts), SIZE_PX)


def draw_chips(count=6, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, SIZE_PX, SIZE_PX), generator=generator).float()


def shapes():
    pairs = [("none", fusion) for fusion in FUSIONS] + [(attention, "add") for attention in ATTENTIONS]
    for attention, fusion in pairs:
        stages = {"stage2": attention, "stage4": attention}
        yield pytest.param({"attention": stages, "fusion": fusion}, id=f"{attention}-{fusion}")
    yield pytest.param({"second_channels": 1}, id="second-stem")
    yield pytest.param({"eight_bit": True}, id="eight-bit")


@pytest.mark.parametrize("parts", list(shapes()))
def test_every_parameter_learns_and_one_batch_is_overfitted(parts):
    network = make_network(**parts)
    inputs = [draw_chips()] + ([draw_chips(channels=1, seed=1)] if "second_channels" in parts else [])
    subject = torch.tensor([0, 0, 1, 1, 2, 2])
    head = nn.Linear(16, 3)
    scale = 8 / 127 if parts.get("eight_bit") else 1.0
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=0.01)
    touched: set[str] = set()
    for _ in range(25):
        loss = nn.functional.cross_entropy(head(network(*inputs) * scale), subject)
        optimizer.zero_grad()
        loss.backward()
        touched |= {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert touched == {name for name, _ in network.named_parameters()}
    assert loss.item() < 0.1


@pytest.mark.parametrize("depth", [18, 34, 50, 100])
def test_depths_have_the_blocks_of_the_literature(depth):
    torch.manual_seed(0)
    network = FaceNetwork(FaceShape(depth=depth, width=4, embedding=8), SIZE_PX)
    convolutions = [m for m in network.stages.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    # The stem and the linear layer make up the rest of the name; 50 and 100 count as their authors counted.
    assert len(convolutions) == {18: 16, 34: 32, 50: 48, 100: 98}[depth]
    assert network.eval()(draw_chips(2)).shape == (2, 8)


@pytest.mark.parametrize("kind", [kind for kind in ATTENTIONS if kind != "none"])
@pytest.mark.parametrize(("channels", "side"), [(8, 7), (16, 4)])
def test_attention_keeps_the_shape_of_its_map_and_weighs_it(kind, channels, side):
    attention = make_attention(kind, channels)
    x = torch.randn(2, channels, side, side)
    weights = attention.weights(x)
    assert attention(x).shape == x.shape
    torch.testing.assert_close(attention(x), x * weights.expand_as(x))
    assert (weights >= 0).all()


def test_soft_attention_shares_one_amount_over_the_map():
    weights = SoftAttention(8).weights(torch.randn(3, 8, 5, 5))
    torch.testing.assert_close(weights.mean((2, 3)), torch.ones(3, 1))


def test_hard_attention_sees_the_best_share_and_still_learns():
    attention = HardAttention(8, keep=0.25)
    x = torch.randn(3, 8, 4, 4)
    weights = attention.weights(x)
    ratings = attention.rate(x).flatten(1)
    assert ((weights.detach() - weights.detach().round()).abs() < 1e-6).all()
    kept = weights.detach().flatten(1) > 0.5
    assert (kept.sum(1) == 4).all()
    assert (ratings.masked_fill(~kept, np.inf).amin(1) > ratings.masked_fill(kept, -np.inf).amax(1)).all()
    attention(x).sum().backward()
    assert attention.rate.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("sides", [(16, 8, 4, 2), (50, 25, 13, 7)])
def test_fusion_brings_levels_of_all_sides_and_channels_to_the_deepest(kind, sides):
    channels = (4, 8, 16, 32)
    levels = [torch.randn(2, c, s, s) for c, s in zip(channels, sides, strict=True)]
    fusion = make_fusion(kind, channels).eval()
    fused = fusion(levels)
    assert fused.shape == levels[-1].shape
    if kind != "none":
        for index in range(4):
            changed = [x + (i == index) for i, x in enumerate(levels)]
            assert not torch.equal(fusion(changed), fused), f"level {index} is not seen"


def test_attention_over_levels_adds_up_to_one():
    levels = [torch.randn(2, 4, 8, 8), torch.randn(2, 8, 4, 4)]
    weights = AttentionFusion((4, 8)).weights(levels)
    torch.testing.assert_close(weights.sum(0), torch.ones(2, 1, 4, 4))


def test_attention_maps_have_the_side_of_their_stage():
    network = make_network(attention={"stage1": "spatial", "stage3": "both"}).eval()
    maps = network.attention_maps(draw_chips(2))
    assert {name: tuple(x.shape) for name, x in maps.items()} == {"stage1": (2, 16, 16), "stage3": (2, 4, 4)}


def test_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="stage5"):
        make_network(attention={"stage5": "soft"})


def test_the_second_picture_is_seen_and_asked_for():
    network = make_network(second_channels=1).eval()
    chips = draw_chips(2)
    one, other = (network(chips, draw_chips(2, channels=1, seed=seed)) for seed in (1, 2))
    assert not torch.allclose(one, other)
    with pytest.raises(ValueError, match="second picture"):
        network(chips)


def test_eight_bits_keep_directions():
    vectors = torch.randn(50, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        coarse = EightBit()(vectors)
    assert torch.equal(coarse, coarse.to(torch.int8).float())
    assert nn.functional.cosine_similarity(coarse, vectors).min() > 0.999


def test_costs_are_those_of_the_arithmetic():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5, bias=False))
    costs = count_costs(network, [torch.zeros(2, 3, 4, 4)])
    assert costs.parameters == 3 * 8 * 9 + 128 * 5
    assert costs.megabytes == pytest.approx(costs.parameters * 4 / 1e6)
    assert costs.flops == 2 * 2 * (16 * 3 * 8 * 9 + 128 * 5)


@pytest.mark.parametrize(
    "parts",
    [
        {"attention": dict(zip(("stage1", "stage2", "stage3", "stage4"), row, strict=True)), "fusion": fusion}
        for row, fusion in [(("both", "soft", "hard", "channel"), "top_down"), (("spatial",) * 4, "attention")]
    ]
    + [{"second_channels": 1, "fusion": "concat"}, {"eight_bit": True, "fusion": "add"}],
    ids=["attentive-top-down", "spatial-attention", "second-stem-concat", "eight-bit-add"],
)
def test_engines_embed_as_the_trained_network(parts, tmp_path: Path):
    network = make_network(**parts).eval()
    second = parts.get("second_channels", 0)
    content = export_embedder(network, SIZE_PX, second_channels=second)
    (tmp_path / "model.onnx").write_bytes(content)
    card = ModelCard(
        name="tiny",
        version="1",
        task="face_embedding",
        description="",
        weights=describe_weights(content),
        licence="Apache-2.0",
        lineage=Lineage(source="a test"),
        chip=FaceChipSpec(size_px=SIZE_PX, template=((0.3, 0.3),) * 5, channels="RGB", mean=(0.0, 0.0, 0.0), scale=1.0),
        embedding=EmbeddingSpec(space="tiny", dimension=16),
    )
    for device, count in itertools.product(("cpu", "onnxruntime-cpu"), (1, 3)):
        inputs = {"chips": draw_chips(count)} | ({"second": draw_chips(count, channels=1)} if second else {})
        with torch.no_grad():
            expected = network(*inputs.values()).numpy()
        engine = load_network(card, tmp_path / "model.onnx", device=device, threads=1)
        answer = engine.run({name: x.numpy() for name, x in inputs.items()})["embeddings"]
        # Rounding may tip over where a component lies half-way.
        np.testing.assert_allclose(answer, expected, atol=1.0 if parts.get("eight_bit") else 1e-4)
