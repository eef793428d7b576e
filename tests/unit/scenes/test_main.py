import json

from training.scenes.__main__ import main


def test_one_clip_and_its_manifest(tmp_path, capsys):
    size = ["--size", "160x90", "--fps", "5", "--seconds", "1"]
    assert main(["--seed", "4", "--out", str(tmp_path), "--people", "2", *size]) == 0
    clip = json.loads((tmp_path / "manifest.json").read_text())["clips"][0]
    assert (clip["width_px"], clip["height_px"], clip["frames"]) == (160, 90, 5)
    assert (tmp_path / clip["file"]).stat().st_size > 500


def test_wrong_numbers_are_refused_in_one_line(tmp_path, capsys):
    assert main(["--seed", "4", "--out", str(tmp_path), "--people", "9"]) == 2
    assert main(["--seed", "4", "--out", str(tmp_path), "--size", "tall"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert not any(tmp_path.iterdir())
