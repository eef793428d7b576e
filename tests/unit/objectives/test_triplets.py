import itertools
import math

import pytest
import torch

from training.objectives.triplets import TripletObjective

MARGIN = 0.3


def draw_batch(seed=0, subjects=4, pictures=3):
    generator = torch.Generator().manual_seed(seed)
    subject = torch.arange(subjects).repeat_interleave(pictures)
    centres = torch.randn(subjects, 5, generator=generator, dtype=torch.float64)
    return centres[subject] + 0.6 * torch.randn(len(subject), 5, generator=generator, dtype=torch.float64), subject


def slow_distance(one, other):
    one, other = ([v / math.sqrt(sum(w * w for w in x)) for v in x] for x in (one, other))
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))


def slow_loss(embeddings, subjects, mining):
    faces, count = embeddings.tolist(), len(subjects)
    d = [[slow_distance(a, b) for b in faces] for a in faces]
    positives = {a: [p for p in range(count) if p != a and subjects[p] == subjects[a]] for a in range(count)}
    negatives = {a: [n for n in range(count) if subjects[n] != subjects[a]] for a in range(count)}
    losses = []
    for a in range(count):
        if mining == "hard":
            losses.append(max(d[a][p] for p in positives[a]) - min(d[a][n] for n in negatives[a]) + MARGIN)
            continue
        for p, n in itertools.product(positives[a], negatives[a]):
            gap = d[a][n] - d[a][p]
            if gap < MARGIN and (mining == "all" or gap > 0):
                losses.append(MARGIN - gap)
    positive = [loss for loss in losses if loss > 0]
    return sum(positive) / len(positive)


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "all"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_a_slow_recomputation(mining, seed):
    embeddings, subject = draw_batch(seed)
    loss = TripletObjective(margin=MARGIN, mining=mining)(embeddings, subject)
    assert loss.item() == pytest.approx(slow_loss(embeddings, subject.tolist(), mining))


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "all"])
def test_gradients_are_those_of_the_loss(mining):
    embeddings, subject = draw_batch()
    objective = TripletObjective(margin=MARGIN, mining=mining)
    assert torch.autograd.gradcheck(lambda x: objective(x, subject), embeddings.requires_grad_())


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "all"])
def test_a_batch_without_triplets_costs_nothing_and_does_not_break(mining):
    embeddings = torch.randn(3, 5, requires_grad=True)
    loss = TripletObjective(mining=mining)(embeddings, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "all"])
def test_identical_faces_have_finite_gradients(mining):
    embeddings = torch.ones(4, 5, requires_grad=True)
    TripletObjective(mining=mining)(embeddings, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(embeddings.grad).all()
