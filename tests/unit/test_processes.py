import json
import os
import subprocess
import sys

import pytest

# Run by torchrun or alone: two epochs without anything random inside a step, then the losses and a weight.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from training.config import FitParams
from training.fit import Lesson, fit

class Line(Lesson):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
        self.y = self.x.sum(1, keepdim=True)
    def draw_epoch(self, generator):
        return torch.randperm(40, generator=generator)
    def forward(self, rows_B, generator):
        return nn.functional.mse_loss(self.layers(self.x[rows_B]), self.y[rows_B])
    def validate(self):
        with torch.no_grad():
            return {"validation_loss": nn.functional.mse_loss(self.layers(self.x), self.y).item()}

torch.set_num_threads(1)
params = FitParams(seed=1, threads=1, precision="float32", epochs=2, batch_size=8, accumulation=int(sys.argv[2]),
                   learning_rate=0.05, warmup_epochs=0, weight_decay=0.01, clip_norm=1.0, patience=9)
lesson = Line()
path = Path(sys.argv[1])
history = fit(lesson, params, checkpoint=path / "c.safetensors", fingerprint="a", report=lambda epoch: None)
import os
if os.environ.get("RANK", "0") == "0":
    losses = [[epoch.train_loss, epoch.validation_loss] for epoch in history]
    (path / "answer.json").write_text(json.dumps([losses, lesson.layers[0].weight.flatten().tolist()]))
"""


def run(folder, processes, accumulation, repository):
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run(
        [*launcher, str(folder / "script.py"), str(folder), str(accumulation)],
        check=True,
        capture_output=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
    )
    return json.loads((folder / "answer.json").read_text())


def test_two_processes_learn_what_one_does(tmp_path, repository):
    one = run(tmp_path / "one", 1, 1, repository)
    two = run(tmp_path / "two", 2, 2, repository)
    for alone, together in zip(one[0], two[0], strict=True):
        assert together == pytest.approx(alone, rel=1e-5)
    assert two[1] == pytest.approx(one[1], rel=1e-4, abs=1e-6)
