"""Tiny rendered scenes for tests of the whole pipeline."""

from pathlib import Path

from training.scenes.manifest import write_clip, write_manifest
from training.scenes.sets import direct_scene
from training.scenes.subject import sample_subject


def render_scenes(folder: Path, seeds: list[int]) -> None:
    """A clip of five seconds and two people for each seed, with the truth beside them."""
    folder.mkdir(parents=True)
    clips = []
    for seed in seeds:
        cast = [sample_subject(10 * seed), sample_subject(10 * seed + 1)]
        scene = direct_scene(seed, cast, seconds=5.0, fps=10.0, size_px=(480, 270), pushes=0)
        clips.append(write_clip(scene, folder / f"scene-{seed}.mp4"))
    write_manifest(folder, folder.name, clips)
