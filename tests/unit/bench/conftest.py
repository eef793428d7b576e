import numpy as np
import pytest

from training.clips.video import ClipStrips
from training.config import read_config
from training.lessons.video import StripSet

SIDE = 16


@pytest.fixture
def params(repository):
    """Learns colours within seconds."""
    given = read_config(repository / "params.yaml").learn_clips
    recurrent = given.recurrent.model_copy(
        update={
            "epochs": 6,
            "warmup_epochs": 0,
            "batch_size": 8,
            "learning_rate": 0.02,
            "mixing": "none",
            "window": given.recurrent.window.model_copy(update={"frames": 3, "size_px": SIDE}),
            "network": given.recurrent.network.model_copy(update={"channels": (8, 16), "units": 8, "dropout": 0.0}),
            "augmentation": given.recurrent.augmentation.model_copy(update={"recolour_probability": 0.0}),
        }
    )
    return given.model_copy(update={"recurrent": recurrent})


@pytest.fixture
def clips(params):
    rng = np.random.default_rng(0)
    actions = np.arange(12) % 2
    pictures = rng.integers(0, 60, (12, 7, SIDE, SIDE, 3))
    pictures[np.arange(12), ..., 2 * actions] += 150
    strips = StripSet(list(pictures.astype(np.uint8)), actions, 2)
    groups = np.array([f"g{clip // 2}" for clip in range(12)])
    return ClipStrips(strips, np.arange(12), actions, groups, 2, params.recurrent.window)
