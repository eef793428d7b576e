import torch

from training.networks.pair import PairHead, choice_loss


def some_pushes():
    torch.manual_seed(0)
    features, seen = torch.randn(6, 4, 5, 3), torch.rand(6, 4, 5) < 0.8
    seen[:, :, 0] = True
    seen[0, 3] = False
    return features, seen


def test_overfits_one_batch():
    features, seen = some_pushes()
    right = torch.eye(5, dtype=torch.bool)[torch.tensor([0, 1, 2, 3, 4, 4])]
    head = PairHead(features=3, units=16)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05)
    for _ in range(150):
        loss = choice_loss(head(features, seen), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_people_in_another_order_or_among_others_never_seen_are_weighed_alike():
    features, seen = some_pushes()
    head, order = PairHead(features=3, units=4), [2, 0, 3, 1]
    logits = head(features, seen)
    torch.testing.assert_close(head(features[:, order], seen[:, order]), logits[:, [*order, 4]])
    more = head(torch.cat([features, features.new_ones(6, 2, 5, 3)], 1), torch.cat([seen, seen.new_zeros(6, 2, 5)], 1))
    torch.testing.assert_close(more.softmax(1)[:, [0, 1, 2, 3, 6]], logits.softmax(1))
    assert more.softmax(1)[:, 4:6].eq(0).all()


def test_what_is_not_seen_is_not_looked_at():
    features, seen = some_pushes()
    head = PairHead(features=3, units=4)
    spoilt = torch.where(seen.unsqueeze(-1), features, torch.nan)
    torch.testing.assert_close(head(spoilt, seen), head(features, seen))


def test_the_loss_is_the_one_of_slow_sums():
    features, seen = some_pushes()
    right = torch.zeros(6, 5, dtype=torch.bool)
    right[:, 4] = True
    right[2, :2] = True
    probabilities = PairHead(features=3, units=4)(features, seen).softmax(1)
    slow = [
        -torch.log(sum(p for p, is_right in zip(row, marks, strict=True) if is_right))
        for row, marks in zip(probabilities, right, strict=True)
    ]
    head_loss = choice_loss(probabilities.log(), right)
    torch.testing.assert_close(head_loss, torch.stack(slow).mean())
