import math

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from torch import nn
from torch.nn import functional

from training.objectives.margins import AdaFace, ArcFace, CosFace, Softmax, SphereFace

D, K, B = 6, 5, 4
MAKERS = {
    "softmax": lambda **more: Softmax(D, K, scale=8, **more),
    "cosface": lambda **more: CosFace(D, K, scale=8, margin=0.3, **more),
    "arcface": lambda **more: ArcFace(D, K, scale=8, margin_rad=0.5, **more),
    "subcentre": lambda **more: ArcFace(D, K, scale=8, margin_rad=0.5, subcentres=3, **more),
    "sphereface": lambda **more: SphereFace(D, K, scale=8, factor=3, **more),
    "adaface": lambda **more: AdaFace(D, K, scale=8, margin_rad=0.4, **more),
}


def make_head(name, **more):
    torch.manual_seed(1)
    return MAKERS[name](**more).double()


def draw_batch(count=B, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, D, generator=generator, dtype=torch.float64), torch.arange(count) % K


def slow_angle(name, angle, norms, index):
    """The right class's logit before scaling, from the papers' formulas, by plain arithmetic."""
    if name == "softmax":
        return math.cos(angle)
    if name == "cosface":
        return math.cos(angle) - 0.3
    if name in ("arcface", "subcentre"):
        return math.cos(angle + 0.5) if angle + 0.5 < math.pi else math.cos(angle) - 0.5 * math.sin(0.5)
    if name == "sphereface":
        k = int(3 * angle / math.pi)
        return (-1) ** k * math.cos(3 * angle) - 2 * k
    mean, deviation = 20.0, 100.0
    clarity = max(-1.0, min(1.0, (norms[index] - mean) / (deviation + 1e-3) * 0.333))
    return math.cos(angle - 0.4 * clarity) - (0.4 + 0.4 * clarity)


def slow_loss(name, head, embeddings, classes):
    norms = [math.sqrt(sum(v * v for v in row)) for row in embeddings.tolist()]
    total = 0.0
    for index, row in enumerate(embeddings.tolist()):
        logits = []
        for k in range(K):
            nearest = -2.0
            for centre in head.centres[k * head.subcentres : (k + 1) * head.subcentres].tolist():
                length = math.sqrt(sum(v * v for v in centre))
                nearest = max(nearest, sum(a * b for a, b in zip(row, centre, strict=True)) / norms[index] / length)
            logits.append(slow_angle(name, math.acos(nearest), norms, index) if k == classes[index] else nearest)
        exponentials = [math.exp(8 * x) for x in logits]
        total -= math.log(exponentials[classes[index]] / sum(exponentials))
    return total / len(norms)


@pytest.mark.parametrize("name", MAKERS)
def test_agrees_with_a_slow_recomputation(name):
    head = make_head(name).eval()
    embeddings, classes = draw_batch(9)
    # One on the far side of its centre, where ArcFace's and SphereFace's formulas change.
    embeddings[0] = -head.centres[0].detach() * 3
    embeddings[0, 0] += 0.2
    assert head(embeddings, classes).item() == pytest.approx(slow_loss(name, head, embeddings, classes.tolist()))


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_are_those_of_the_loss(name):
    head = make_head(name).eval()
    embeddings, classes = draw_batch()
    centres = head.centres.detach().clone().requires_grad_()

    def loss(x, w):
        # AdaFace takes the norm as given, not as something to be changed: here it is one and the same.
        return torch.func.functional_call(head, {"centres": w}, (20 * functional.normalize(x), classes))

    assert torch.autograd.gradcheck(loss, (embeddings.requires_grad_(), centres))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_faces_exactly_on_and_opposite_their_centre_have_finite_gradients(name, sign, dtype):
    head = make_head(name).float()
    embeddings = (sign * head.centres[:: head.subcentres][:B].detach()).to(dtype).requires_grad_()
    loss = head(embeddings, torch.arange(B))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(head.centres.grad).all()


@pytest.mark.parametrize("name", MAKERS)
def test_no_angle_is_so_bad_that_a_worse_one_costs_less(name):
    head = make_head(name).eval()
    cosine = torch.linspace(-0.9999, 0.9999, 400, dtype=torch.float64)
    changed = head.penalise(cosine, torch.full_like(cosine, 20.0))
    assert (changed.diff() >= 0).all()
    assert (changed <= cosine + 1e-9).all()


@pytest.mark.parametrize("name", MAKERS)
def test_leaves_what_it_was_given_alone_and_warms_up_from_no_margin(name):
    head = make_head(name)
    embeddings, classes = draw_batch()
    before = embeddings.clone()
    cold, warm = (head(embeddings, classes, margin_share=share).item() for share in (0.0, 1.0))
    assert torch.equal(embeddings, before)
    plain = Softmax(D, K, scale=8).double()
    if name != "subcentre":
        plain.load_state_dict({"centres": head.centres})
        assert cold == pytest.approx(plain(embeddings, classes).item())
    assert warm >= cold


def test_agrees_with_another_library():
    embeddings, classes = draw_batch()
    embeddings = embeddings.float()
    ours = {"arcface": make_head("arcface").float(), "cosface": make_head("cosface").float()}
    theirs = {
        "arcface": ArcFaceLoss(K, D, margin=math.degrees(0.5), scale=8),
        "cosface": CosFaceLoss(K, D, margin=0.3, scale=8),
    }
    for name, head in ours.items():
        theirs[name].W = nn.Parameter(head.centres.detach().T.clone())
        torch.testing.assert_close(head(embeddings, classes), theirs[name](embeddings, classes))


def test_adaface_asks_more_of_clear_faces():
    head = make_head("adaface").eval()
    cosine = torch.full((2,), 0.5, dtype=torch.float64)
    unclear, clear = head.penalise(cosine, torch.tensor([1.0, 100.0], dtype=torch.float64))
    assert clear < unclear < 0.5


def test_adaface_follows_the_norms_it_meets_in_training_only():
    head = make_head("adaface")
    embeddings, classes = draw_batch()
    head(embeddings, classes)
    expected = 20 + 0.01 * (embeddings.norm(dim=1).mean().item() - 20)
    assert head.norm_mean.item() == pytest.approx(expected)
    head.eval()(embeddings, classes)
    assert head.norm_mean.item() == pytest.approx(expected)


def test_sampling_sees_the_classes_of_the_batch_and_so_many_others():
    torch.manual_seed(0)
    head = CosFace(D, 1000, scale=8, sample=0.1)
    embeddings, classes = torch.randn(6, D), torch.tensor([3, 999, 3, 500, 0, 7])
    logits, target = head.logits(embeddings, classes)
    assert logits.shape == (6, 100)
    assert target[0] == target[2]
    cosine = functional.normalize(embeddings) @ functional.normalize(head.centres).T
    expected = 8 * (cosine[torch.arange(6), classes] - 0.35)
    torch.testing.assert_close(logits[torch.arange(6), target], expected)
    functional.cross_entropy(logits, target).backward()
    assert int((head.centres.grad.abs().sum(1) > 0).sum()) == 100


def test_a_small_sample_still_holds_all_of_a_batch():
    head = Softmax(D, 50, scale=8, sample=0.02)
    logits, target = head.logits(torch.randn(20, D), torch.arange(20))
    assert logits.shape == (20, 20)
    assert sorted(target.tolist()) == list(range(20))


def test_sampling_is_for_training_only():
    head = Softmax(D, 50, scale=8, sample=0.1).eval()
    assert head.logits(torch.randn(3, D), torch.arange(3))[0].shape == (3, 50)
