from pathlib import Path

import pytest
import yaml

from services.contracts.errors import BadUsage
from training.config import read_config


@pytest.fixture
def written(repository, tmp_path):
    params = yaml.safe_load((repository / "params.yaml").read_text())

    def write(change) -> Path:
        change(params)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(params))
        return path

    return write


def test_the_repository_s_own_params_are_right(repository):
    assert read_config(repository / "params.yaml").prepare.window.frames > 1


def test_every_stage_of_the_pipeline_has_a_block_and_every_block_a_stage(repository):
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    # A person promotes, starts the face stages and learns from clips, not the pipeline.
    by_hand = {"promote", "prepare_face", "train_face", "evaluate_face", "export_face", "learn_clips"}
    assert set(yaml.safe_load((repository / "params.yaml").read_text())) == {*stages, *by_hand}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["train_action"].update(epoch=3), "train_action.epoch"),
        (lambda p: p["train_action"].pop("epochs"), "train_action.epochs"),
        (lambda p: p["prepare"].update(minimum_iou=1.5), "prepare.minimum_iou"),
        (lambda p: p["prepare"]["window"].update(frames=1), "prepare.window.frames"),
        (lambda p: p.update(deploy={}), "deploy"),
    ],
)
def test_a_wrong_key_or_value_is_named(written, change, message):
    with pytest.raises(BadUsage, match=message):
        read_config(written(change))


def test_an_absent_file_says_where_to_stand(tmp_path):
    with pytest.raises(BadUsage, match="root of the checkout"):
        read_config(tmp_path / "params.yaml")
