import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.mixture import GaussianMixture

from training.networks.motion import AMOUNTS, DIRECTIONS, KINDS, Codebook, FisherMotion, MotionField, estimate_flow

RNG = np.random.default_rng(4)


def texture(height=64, width=64, margin=16):
    smooth = ndimage.gaussian_filter(RNG.random((height + 2 * margin, width + 2 * margin)), 2, mode="wrap")
    return 128 + 50 * (smooth - smooth.mean()) / smooth.std()


def moving(dx, dy, frames=8, side=64):
    """A texture that moves by whole pixels behind a window: (1, T, S, S, 3) uint8."""
    plane = np.clip(texture(side, side, 40), 0, 255)
    cut = [plane[40 - t * dy : 40 - t * dy + side, 40 - t * dx : 40 - t * dx + side] for t in range(frames)]
    return torch.from_numpy(np.stack(cut)[None, ..., None].repeat(3, axis=-1).astype(np.uint8))


def codebooks(windows, gaussians=3, reduced=4):
    """Random axes and a mixture fitted to what is reduced by them."""
    books = {}
    cuboids = MotionField(3)(windows).cuboids()
    for kind in KINDS:
        descriptors = cuboids.by_kind[kind].flatten(0, 1)
        axes = torch.randn(descriptors.shape[1], reduced, generator=torch.Generator().manual_seed(1))
        x = torch.cat([(descriptors - descriptors.mean(0)) @ axes, 2 * cuboids.places.flatten(0, 1)], dim=1)
        mixture = GaussianMixture(gaussians, covariance_type="diag", random_state=0, reg_covar=1e-2).fit(x.numpy())
        books[kind] = Codebook(
            mean=descriptors.mean(0),
            axes=axes,
            weights=torch.from_numpy(mixture.weights_),
            means=torch.from_numpy(mixture.means_),
            deviations=torch.from_numpy(np.sqrt(mixture.covariances_)),
        )
    return books


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 1), (0, -6), (9, 4)])
def test_flow_follows_a_moving_texture(dx, dy):
    windows = moving(dx, dy, frames=2)
    grey = windows[0, :, :, :, 0].float()[:, None] / 255
    flow = estimate_flow(grey[:1], grey[1:])[0, :, 16:-16, 16:-16]
    assert flow[0].median().item() == pytest.approx(dx, abs=0.6)
    assert flow[1].median().item() == pytest.approx(dy, abs=0.6)


def test_a_still_picture_has_no_flow_and_no_moving_cuboid():
    still = moving(0, 0, frames=10)
    cuboids = MotionField(3)(still).cuboids()
    assert not cuboids.moving.any()
    network = FisherMotion(codebooks(moving(2, 1, frames=10)), classes=2, slice_frames=3)
    assert network.embed(MotionField(3)(moving(0, 0, frames=10)))[:, :-AMOUNTS].abs().max() < 1e-5


def test_directions_share_their_length_between_neighbours():
    angle = torch.tensor(0.3)
    vector = 2.5 * torch.stack([angle.cos(), angle.sin()])[None, :, None, None]
    shares = MotionField(3)._directions(vector).flatten()
    assert set(torch.nonzero(shares).flatten().tolist()) == {0, 1}
    assert shares[0] > shares[1] > 0
    aligned = MotionField(3)._directions(torch.tensor([0.0, 2.5])[None, :, None, None]).flatten()
    assert aligned[DIRECTIONS // 4].item() == pytest.approx(2.5, rel=1e-4)
    assert torch.count_nonzero(aligned) == 1


def test_descriptors_are_roots_of_shares():
    cuboids = MotionField(3)(moving(3, 1)).cuboids()
    # 7 pairs of pictures give 2 slices: too few for a cuboid of 3.
    assert cuboids.by_kind["flow"].shape[1] == 0
    cuboids = MotionField(3)(moving(3, 1, frames=10)).cuboids()
    assert cuboids.by_kind["flow"].shape == (1, 6 * 6, 27 * (DIRECTIONS + 1))
    for kind in KINDS:
        total = (cuboids.by_kind[kind] ** 2).sum(2)
        assert torch.allclose(total, torch.ones_like(total), atol=0.1)


def slow_fisher(x, weight, book):
    """Perronnin et al. 2010, equations by loops over descriptors and Gaussians."""
    w, mu, sd = (np.asarray(part, np.float64) for part in (book.weights, book.means, book.deviations))
    by_mean, by_spread, total = np.zeros_like(mu), np.zeros_like(mu), 0.0
    for row, counts in zip(x, weight, strict=True):
        if not counts:
            continue
        total += 1
        density = w * np.exp(-(((row - mu) / sd) ** 2).sum(1) / 2) / sd.prod(1)
        for k, posterior in enumerate(density / density.sum()):
            by_mean[k] += posterior * (row - mu[k]) / sd[k]
            by_spread[k] += posterior * (((row - mu[k]) / sd[k]) ** 2 - 1)
    by_mean /= total * np.sqrt(w)[:, None]
    by_spread /= total * np.sqrt(2 * w)[:, None]
    vector = np.concatenate([by_mean.ravel(), by_spread.ravel()])
    rooted = np.sign(vector) * np.sqrt(np.abs(vector))
    return rooted / np.linalg.norm(rooted)


def test_fisher_vectors_by_slow_loops():
    windows = moving(3, 1, frames=10)
    windows[:, :, :, 24:] = windows[:, :1, :, 24:]
    books = codebooks(windows)
    network = FisherMotion(books, classes=2, slice_frames=3)
    cuboids = network.motion(windows).cuboids()
    assert 0 < cuboids.moving.sum() < cuboids.moving.numel()
    slow = []
    for kind in KINDS:
        reduced = (cuboids.by_kind[kind][0] - books[kind].mean) @ books[kind].axes
        x = torch.cat([reduced, 2 * cuboids.places[0]], dim=1).double().numpy()
        slow.append(slow_fisher(x, cuboids.moving[0].numpy(), books[kind]))
    fisher = network.embed(network.motion(windows))[0, :-AMOUNTS].numpy()
    assert np.allclose(fisher, np.concatenate(slow), atol=2e-3)


def test_a_mirror_image_gets_the_same_answer():
    windows = moving(3, 1, frames=10)
    network = FisherMotion(codebooks(windows), classes=2, slice_frames=3)
    torch.nn.init.normal_(network.head.weight)
    assert torch.allclose(network(windows), network(windows.flip(3)), atol=1e-2)
    motion = network.motion(windows)
    assert not torch.allclose(network.embed(motion), network.embed(motion.mirrored()), atol=1e-2)


def test_motion_seen_in_a_mirror_is_the_motion_of_mirrored_pictures():
    windows = moving(3, 1, frames=10)
    turned, seen = MotionField(3)(windows).mirrored(), MotionField(3)(windows.flip(3))
    for kind in KINDS:
        assert torch.allclose(turned.by_kind[kind], seen.by_kind[kind], atol=0.05), kind
    assert torch.allclose(turned.amounts(), seen.amounts(), atol=1e-3)
