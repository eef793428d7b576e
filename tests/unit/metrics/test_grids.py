import numpy as np
import torch
from PIL import Image

from training.metrics.grids import draw_faces, shade_by_attention


def test_faces_stand_in_rows(tmp_path):
    chips = torch.arange(5).reshape(5, 1, 1, 1).expand(-1, 3, 4, 4) * 50.0
    draw_faces(chips, tmp_path / "sheet.png", columns=3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (8, 12, 3)
    assert [sheet[0, 0, 0], sheet[0, 8, 0], sheet[4, 4, 0], sheet[4, 8, 0]] == [0, 100, 200, 0]


def test_what_is_looked_at_stays_bright():
    chips = torch.full((1, 3, 8, 8), 200.0)
    shaded = shade_by_attention(chips, torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    assert shaded[0, 0, 0, 7] == 200
    assert shaded[0, 0, 0, 0] == 50
