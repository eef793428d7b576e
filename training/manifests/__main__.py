"""`python -m training.manifests infra/overlays/*`: build, check, and say what is wrong."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from services.contracts.errors import BadInput
from training.manifests.check import find_faults
from training.manifests.house import unbuilt_images
from training.manifests.manifest import build
from training.stages.entry import run

IMAGES = Path(__file__).parents[2] / "infra" / "images"


def main(arguments: Sequence[str] | None = None) -> None:
    """Check every kustomization that is named.

    Raises:
        BadInput: At least one has a fault; all of them are on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m training.manifests", description=__doc__)
    parser.add_argument("overlays", nargs="+", type=Path, metavar="FOLDER", help="with a kustomization.yaml")
    options = parser.parse_args(arguments)
    faulty = []
    for folder in options.overlays:
        overlay = build(folder)
        faults = list(find_faults(overlay, IMAGES))
        for fault in faults:
            sys.stderr.write(f"{folder}: {fault}\n")
        if faults:
            faulty.append(str(folder))
            continue
        waiting = f"; not built yet: {len(unbuilt_images(overlay))} images" if unbuilt_images(overlay) else ""
        sys.stdout.write(f"{folder}: {len(overlay)} objects are sound{waiting}\n")
    if faulty:
        raise BadInput(f"faults in {', '.join(faulty)}: see above")


if __name__ == "__main__":
    run(main)
