import pytest
import torch
import torchvision
from safetensors.torch import save_file

from services.contracts.errors import BadInput, MissingModel
from training.config import RecurrentParams, ResidualParams
from training.networks.video import RECURRENT_KINDS, RESIDUAL_KINDS, VIDEO_KINDS, fold_statistics, make_video_network

SIDE = 16


def windows(count=2, frames=4, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, frames, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def make(kind, *, classes=2, changes=False, **recurrent):
    torch.manual_seed(1)
    if kind in RESIDUAL_KINDS:
        params = ResidualParams(changes=changes, dropout=0.0)
    else:
        given = {"channels": (8, 8), "units": 8, "bidirectional": True, "reading": "attention", "dropout": 0.0}
        params = RecurrentParams(**given | recurrent)
    return make_video_network(kind, params, classes=classes, size_px=SIDE)


@pytest.fixture(autouse=True)
def one_thread():
    """Several gain nothing on networks this small, and wait for each other where cores are few."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def teach(network, x, truth, optimizer, *, steps):
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network(x), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_every_network_answers_for_each_window_and_every_parameter_is_heard(kind):
    network = make(kind, classes=3)
    logits = network(windows())
    assert logits.shape == (2, 3)
    (logits * torch.tensor([[1.0, -2.0, 0.5]])).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@pytest.mark.parametrize("kind", RESIDUAL_KINDS)
def test_3d_networks_overfit_one_batch(kind):
    network = make(kind)
    optimizer = torch.optim.SGD(network.parameters(), 0.02)
    assert teach(network, windows(4), torch.tensor([0, 1, 0, 1]), optimizer, steps=8) < 0.1


@pytest.mark.parametrize("kind", RECURRENT_KINDS)
@pytest.mark.parametrize(("reading", "bidirectional"), [("attention", True), ("last", True), ("last", False)])
def test_recurrent_networks_overfit_one_batch(kind, reading, bidirectional):
    network = make(kind, reading=reading, bidirectional=bidirectional)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    assert teach(network, windows(4), torch.tensor([0, 1, 0, 1]), optimizer, steps=30) < 0.1


def test_lstm_and_gru_are_what_they_are_called():
    assert isinstance(make("cnn_lstm").trunk.sequence.cell, torch.nn.LSTM)
    assert isinstance(make("cnn_gru").trunk.sequence.cell, torch.nn.GRU)


def test_the_last_state_is_that_of_both_directions():
    sequence = make("cnn_lstm", reading="last").trunk.sequence.eval()
    features = torch.randn(3, 5, 16)
    _, (last, _) = sequence.cell(torch.nn.functional.gelu(sequence.norm(features)))
    assert torch.allclose(sequence(features), torch.cat([last[0], last[1]], dim=1), atol=1e-6)


def test_where_changes_are_read_a_still_picture_is_like_any_other():
    still = windows(2, frames=1).expand(-1, 4, -1, -1, -1)
    network = make("r3d_18", changes=True).eval()
    with torch.inference_mode():
        one, other = network(still)
        assert torch.allclose(one, other)
        moving = network(windows(2))
    assert not torch.allclose(moving[0], moving[1])
    with torch.inference_mode():
        one, other = make("r3d_18").eval()(still)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_s_weights_are_taken_but_for_their_classifier(suffix, tmp_path):
    other = torchvision.models.video.mc3_18(weights=None, num_classes=5)
    path = tmp_path / f"kinetics{suffix}"
    if suffix == ".pth":
        torch.save(other.state_dict(), path)
    else:
        save_file(other.state_dict(), path)
    network = make("mc3_18", classes=3)
    before = network.head.weight.clone()
    network.load_trunk(path)
    expected = {name: value for name, value in other.state_dict().items() if not name.startswith("fc.")}
    assert all(torch.equal(network.trunk.state_dict()[name], value) for name, value in expected.items())
    assert torch.equal(network.head.weight, before)
    # Scaled as torchvision's own recipe scales: the same features come out.
    other.fc = torch.nn.Identity()
    x = windows(1)
    scaled = (x.float() / 255 - torch.tensor([0.43216, 0.394666, 0.37645])) / torch.tensor([0.22803, 0.22145, 0.216989])
    with torch.inference_mode():
        expected = other.eval()(scaled.permute(0, 4, 1, 2, 3))
        assert torch.allclose(network.eval().embed(x), expected, atol=1e-5)


def test_weights_of_something_else_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(make("mc3_18").trunk.state_dict(), path)
    with pytest.raises(BadInput, match=r"weights.pth does not hold weights of such a network"):
        make("r2plus1d_18").load_trunk(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match=r"weights.pth"):
        make("mc3_18").load_trunk(path)
    with pytest.raises(MissingModel, match="absent"):
        make("mc3_18").load_trunk(tmp_path / "absent.pth")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a weights file ran code",))


def test_a_weights_file_cannot_run_code(tmp_path):
    torch.save({"stem.0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(BadInput, match=r"trap.pth"):
        make("r3d_18").load_trunk(tmp_path / "trap.pth")


@pytest.mark.parametrize("kind", ["r3d_18", "cnn_gru"])
def test_stages_are_all_of_the_network_from_the_pictures_to_the_answer(kind):
    network = make(kind)
    staged = [id(p) for stage in network.stages() for p in stage.parameters()]
    assert staged == [id(p) for p in network.parameters()]
    assert network.stages()[-1] is network.head


@pytest.mark.parametrize("kind", RESIDUAL_KINDS)
def test_folded_statistics_answer_the_same_without_normalising(kind):
    network = make(kind)
    # Statistics unlike those of a network nobody taught.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    folded = fold_statistics(network.eval())
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    with torch.inference_mode():
        assert torch.allclose(folded(windows()), network(windows()), atol=1e-4)
