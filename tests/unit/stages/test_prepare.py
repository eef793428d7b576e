import shutil
from pathlib import Path

import pytest

from services.contracts.errors import MissingModel
from training.scenes.manifest import write_manifest
from training.stages import prepare


def test_without_detectors_it_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHODID_MODELS", str(tmp_path / "none"))
    shutil.copy(repository / "params.yaml", tmp_path)
    for side in ("train", "heldout"):
        folder = tmp_path / prepare.SCENES / side
        folder.mkdir(parents=True)
        clips = [
            {
                "file": f"{number}.mp4",
                "sha256": "0" * 64,
                "fps": 10,
                "people": [{"subject_id": f"{side}-{number}", "actions": [], "boxes_px": []}],
            }
            for number in range(2)
        ]
        write_manifest(folder, side, clips)
    with pytest.raises(MissingModel, match="no champion for person_detection"):
        prepare.main()
