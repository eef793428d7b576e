"""ActionLesson: windows of people, each with the action it shows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.config import TrainActionParams
from training.datasets.augmentation import augment
from training.datasets.sampling import draw_balanced
from training.datasets.windows import WindowSet
from training.fit import Lesson


class ActionLesson(Lesson):
    """Cross-entropy on augmented windows, every action equally often; validated on other people."""

    def __init__(self, network: nn.Module, train: WindowSet, validation: WindowSet, params: TrainActionParams) -> None:
        """Take a network that answers logits (N, K) for pictures and motion, and windows with an action each."""
        super().__init__()
        self.network = network
        self._train, self._validation, self._params = train, validation, params
        self._action_N = torch.from_numpy(train.actions)
        self._loss = nn.CrossEntropyLoss(label_smoothing=params.label_smoothing)

    def draw_epoch(self, generator: torch.Generator) -> Tensor:
        """Rows of the training windows, balanced by action."""
        return draw_balanced(self._action_N, generator)

    def forward(self, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        """Mean loss of some training windows, freshly augmented."""
        rgb_NTHWC = torch.from_numpy(self._train.rgb(rows_B.numpy()))
        motion_NTM = torch.from_numpy(self._train.motion[rows_B.numpy()])
        rgb_NTHWC, motion_NTM = augment(rgb_NTHWC, motion_NTM, self._params.augmentation, generator)
        with self.autocast(self._params.precision):
            logits_NK = self.network(rgb_NTHWC.to(self.device), motion_NTM.to(self.device))
        loss: Tensor = self._loss(logits_NK.float(), self._action_N[rows_B].to(self.device))
        return loss

    def validate(self) -> dict[str, float]:
        """Loss and accuracy on the validation windows."""
        logits_NK = torch.from_numpy(predict_logits(self.network, self._validation))
        truth_N = torch.from_numpy(self._validation.actions)
        return {
            "validation_loss": nn.functional.cross_entropy(logits_NK, truth_N).item(),
            "validation_accuracy": (logits_NK.argmax(1) == truth_N).double().mean().item(),
        }


def predict_logits(network: nn.Module, windows: WindowSet, batch_size: int = 64) -> NDArray[np.float32]:
    """Logits (N, K) of every window, float32, without gradients or augmentation."""
    network.eval()
    device = next(network.parameters()).device
    answers = []
    with torch.inference_mode():
        for start in range(0, len(windows), batch_size):
            rows = np.arange(start, min(start + batch_size, len(windows)))
            rgb_NTHWC = torch.from_numpy(windows.rgb(rows)).to(device)
            motion_NTM = torch.from_numpy(windows.motion[rows]).to(device)
            answers.append(network(rgb_NTHWC, motion_NTM).float().cpu().numpy())
    return np.concatenate(answers) if answers else np.zeros((0, len(windows.classes)), np.float32)
