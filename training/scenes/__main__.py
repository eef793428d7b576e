"""Render a named set, or one clip of its own: `python -m training.scenes --help`."""

import argparse
import sys
from pathlib import Path

from services.contracts.errors import BadUsage, WhodidError
from training.scenes.manifest import write_clip, write_manifest
from training.scenes.sets import ENROLMENT, SETS, direct_scene, write_set
from training.scenes.subject import sample_subject


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.scenes", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--set", choices=[*SETS, ENROLMENT], help="a named set")
    what.add_argument("--seed", type=int, help="one clip drawn from this seed")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files and manifest.json")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--size", default="1280x720", metavar="WIDTHxHEIGHT")
    parser.add_argument("--people", type=int, default=3, help="2 to 5")
    options = parser.parse_args(arguments)
    try:
        if options.set:
            write_set(options.set, options.out, report=print)
            return 0
        _write_one(options)
    except WhodidError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


def _write_one(options: argparse.Namespace) -> None:
    try:
        width_px, height_px = (int(side) for side in options.size.split("x"))
    except ValueError:
        raise BadUsage(f"--size {options.size!r} is not WIDTHxHEIGHT, for example 1280x720") from None
    if not 2 <= options.people <= 5:
        raise BadUsage(f"--people {options.people}: a scene has 2 to 5")
    scene = direct_scene(
        options.seed,
        [sample_subject(options.seed * 10 + k) for k in range(options.people)],
        seconds=options.seconds,
        fps=options.fps,
        size_px=(width_px, height_px),
        pushes=1,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"scene-{options.seed:05d}.mp4"
    write_manifest(options.out, path.stem, [write_clip(scene, path)])
    print(path)


if __name__ == "__main__":
    sys.exit(main())
