import shutil
from pathlib import Path

import pytest

from services.contracts.errors import MissingModel
from training.config import read_config
from training.scenes.manifest import write_manifest
from training.stages import prepare


def write_scenes(folder: Path, count: int) -> None:
    """Manifests of clips that are not there, with one person each."""
    for side in ("train", "heldout"):
        scenes = folder / prepare.SCENES / side
        scenes.mkdir(parents=True)
        clips = [
            {
                "file": f"{number}.mp4",
                "sha256": "0" * 64,
                "fps": 10,
                "people": [{"subject_id": f"{side}-{number}", "actions": [], "boxes_px": []}],
            }
            for number in range(count)
        ]
        write_manifest(scenes, side, clips)


def test_without_detectors_it_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHODID_MODELS", str(tmp_path / "none"))
    shutil.copy(repository / "params.yaml", tmp_path)
    write_scenes(tmp_path, 2)
    with pytest.raises(MissingModel, match="no champion for person_detection"):
        prepare.main()


def test_a_sample_holds_the_first_training_clips_and_everyone_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(repository)
    params = read_config().prepare
    assert params.training_clips is None
    monkeypatch.chdir(tmp_path)
    write_scenes(tmp_path, 9)

    def count(training_clips: int | None) -> tuple[int, int, int]:
        _, sides = prepare.read_sides(params.model_copy(update={"training_clips": training_clips}))
        return len(sides["train"]), len(sides["validation"]), len(sides["heldout"])

    assert count(None) == (7, 2, 9)
    assert count(4) == (3, 1, 9)
    _, sample = prepare.read_sides(params.model_copy(update={"training_clips": 4}))
    assert {clip.path.stem for side in ("train", "validation") for clip in sample[side]} == {"0", "1", "2", "3"}
