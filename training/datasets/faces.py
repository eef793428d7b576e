"""Faces from elsewhere made ready to learn from.

python -m training.datasets.faces import --layout folders --root lfw --source lfw --licence academic --out faces.jsonl
python -m training.datasets.faces align --records faces.jsonl --root lfw --out build/faces/lfw
python -m training.datasets.faces validate train=build/faces/casia test=build/faces/lfw --pictures-needed 2
python -m training.datasets.faces pairs --lfw pairs.txt --out pairs.csv
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from services.contracts.errors import BadInput, BadUsage
from services.models.engine import load_network
from services.perception.detect import FaceDetector
from services.settings import read_settings
from training.datasets.face_checks import check_faces
from training.datasets.face_chips import load_chips, prepare_chips
from training.datasets.face_manifest import read_records, write_records
from training.datasets.face_sources import IMPORTERS, read_lfw_pairs, read_pairs_bin
from training.metrics.models import find_model

_ROWS_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and do one of the four."""
    parser = argparse.ArgumentParser(prog="training.datasets.faces", description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    importing = verbs.add_parser("import", help="a data set's layout becomes one manifest")
    importing.add_argument("--layout", choices=sorted(IMPORTERS), required=True)
    importing.add_argument("--root", type=Path, required=True)
    importing.add_argument("--source", required=True, help="name of the data set")
    importing.add_argument("--licence", required=True, help="SPDX identifier or its terms in a few words")
    importing.add_argument("--out", type=Path, required=True, help="manifest to write, one record a line")
    aligning = verbs.add_parser("align", help="find and align the faces of a manifest; resumes where it stopped")
    aligning.add_argument("--records", type=Path, required=True)
    aligning.add_argument("--root", type=Path, required=True)
    aligning.add_argument("--chip-of", default="champion", help="embedder whose card says how a chip is cut")
    aligning.add_argument("--out", type=Path, required=True)
    validating = verbs.add_parser("validate", help="refuse leaks, near duplicates and subjects a loss cannot use")
    validating.add_argument("sides", nargs="+", metavar="NAME=FOLDER")
    validating.add_argument("--pictures-needed", type=int, default=1, help="of every subject of the side train")
    pairing = verbs.add_parser("pairs", help="a list of pairs becomes a CSV for training.metrics.verification")
    pairing.add_argument("--lfw", type=Path, help="LFW's pairs.txt")
    pairing.add_argument("--bin", type=Path, help="InsightFace's .bin; its pictures are written beside the CSV")
    pairing.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    {"import": _import, "align": _align, "validate": _validate, "pairs": _pair}[options.verb](options)


def _import(options: argparse.Namespace) -> None:
    records = list(IMPORTERS[options.layout](options.root, options.source, options.licence))
    write_records(records, options.out)
    subjects = len({record.subject_id for record in records})
    sys.stdout.write(f"{len(records)} pictures of {subjects} subjects in {options.out}\n")


def _align(options: argparse.Namespace) -> None:
    card, weights_path = find_model("champion", "face_detection")
    detector = FaceDetector(load_network(card, weights_path, device=read_settings().device), card)
    chip = find_model(options.chip_of, "face_embedding").card.chip
    assert chip is not None  # the card's validator
    skipped = prepare_chips(read_records(options.records), options.root, options.out, detector, chip)
    for reason, pictures in skipped.items():
        sys.stdout.write(f"{reason}: {len(pictures)}\n")
        sys.stdout.writelines(f"  {picture}\n" for picture in pictures[:_ROWS_SHOWN])


def _validate(options: argparse.Namespace) -> None:
    folders = dict(side.split("=", 1) for side in options.sides if "=" in side)
    if len(folders) != len(options.sides):
        raise BadUsage(f"{' '.join(options.sides)}: expected NAME=FOLDER, every name once")
    sides = {name: load_chips(Path(folder)) for name, folder in folders.items()}
    findings = check_faces(sides, pictures_needed=options.pictures_needed)
    for finding in findings:
        sys.stdout.write(f"{finding.reason}\n")
        sys.stdout.writelines(f"  {row}\n" for row in finding.rows[:_ROWS_SHOWN])
        if len(finding.rows) > _ROWS_SHOWN:
            sys.stdout.write(f"  and {len(finding.rows) - _ROWS_SHOWN} more\n")
    if findings:
        raise BadInput(f"refused: {'; '.join(finding.reason for finding in findings)}")
    sys.stdout.writelines(
        f"{name}: {len(faces)} faces of {len(faces.subjects)} subjects\n" for name, faces in sides.items()
    )


def _pair(options: argparse.Namespace) -> None:
    if (options.lfw is None) == (options.bin is None):
        raise BadUsage("give either --lfw pairs.txt or --bin FILE.bin")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("fold", "path_a", "path_b", "same"))
        if options.lfw is not None:
            table.writerows((fold, one, other, int(same)) for fold, one, other, same in read_lfw_pairs(options.lfw))
            return
        pictures = options.out.parent / options.out.stem
        pictures.mkdir(exist_ok=True)
        for index, (one, other, same) in enumerate(read_pairs_bin(options.bin)):
            names = [f"{index:05d}{half}.jpg" for half in "ab"]
            for name, content in zip(names, (one, other), strict=True):
                (pictures / name).write_bytes(content)
            # These lists say no fold: pairs alternate over ten, as their own protocol cuts them.
            table.writerow((index % 10 + 1, *(f"{pictures.name}/{name}" for name in names), int(same)))


if __name__ == "__main__":
    from training.stages.entry import run

    run(main)
