import numpy as np

from services.contracts.action import Action, ActionSegment, Toward
from training.bench.pairs import answer, answer_folds, learn, stack, tabulate
from training.datasets.pairs import MOMENTS, Encounter


def encounters(count=30):
    """Pushes at somebody half a body away, with others nearer who are tracks of the pusher; every tenth is not real."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        apart = rng.permutation([0.1, 0.5, 2.0][: 2 + number % 2])
        features = np.repeat(np.stack([apart, 0 * apart], axis=1)[:, None], MOMENTS, axis=1).astype(np.float32)
        others = tuple(f"t{row}" for row in range(len(apart)))
        right = (apart == 0.5) & (number % 10 > 0)
        nearest = Toward(track_id=others[int(apart.argmin())], share=0.9)
        push = ActionSegment(
            track_id="t9",
            action=Action(name="push", probability=0.9),
            start_seconds=0,
            end_seconds=2,
            toward=nearest if number % 3 else None,
        )
        seen = np.ones(features.shape[:2], bool)
        made.append(Encounter(f"clip-{number % 10}", push, others, features, seen, right, bool(number % 10)))
    return made


def test_the_head_learns_whom_and_the_same_pushes_teach_the_same_head():
    met = encounters()
    real = [each for each in met if each.real]
    said = answer(learn(met), real)
    assert [whom for whom, _ in said] == [each.others[int(each.right.argmax())] for each in real]
    assert answer(learn(met), real) == said


def test_folds_answer_everybody_from_heads_that_never_met_the_clip():
    met = encounters()
    # Of a clip whose truth is turned round, a head that met it would know.
    turned = [each.right[::-1] if each.clip == "clip-1" else each.right for each in met]
    liars = [
        Encounter(e.clip, e.push, e.others, e.features, e.seen, right, e.real)
        for e, right in zip(met, turned, strict=True)
    ]
    told = answer_folds(liars)
    honest = [whom for (whom, _), each in zip(told, met, strict=True) if each.clip == "clip-1"]
    assert honest == [e.others[int(e.right.argmax())] for e in met if e.clip == "clip-1"]


def test_the_table_counts_what_was_said_and_what_was_right():
    met = encounters()
    table = tabulate("yard", met, [(None, 1.0)] * len(met), "network@1")
    nearest, served, head = table.rows
    assert nearest[:5] == ("nearest, whoever it is", 27, 27, 0, 0.0)
    assert served[:5] == ("the rule that serves", 27, 18, 0, 0.0)
    assert head[:5] == ("learned head", 27, 0, 0, 0.0)
    right = tabulate("yard", met, [(e.others[int(e.right.argmax())], 1.0) for e in met], "network@1").rows[2]
    assert right[:5] == ("learned head", 27, 27, 27, 1.0)
    assert "learned head names somebody in 3" in tabulate("yard", met, answer(learn(met), met), "n@1").remarks[1]


def test_padding_is_never_seen_and_nobody_is_right_where_no_track_is():
    features, seen, right = stack(encounters())
    assert features.shape == (30, 3, MOMENTS, 2)
    assert not seen[0, 2].any()
    assert right[0].tolist() == [False, False, False, True]
    assert right.any(dim=1).all()
