"""Stage register: the exported files become a model version, found again by their digest."""

import json
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from services.contracts.card import ModelCard
from training.config import read_config
from training.runs import register_version, reopen_run
from training.stages.entry import run
from training.stages.export import RESULTS as EXPORTED

RESULTS = Path("build/register")


def main() -> None:
    """Store weights and card with their run, make a version of them, leave its number in `build/register`."""
    alias = read_config().register_.alias
    card = ModelCard.model_validate_json((EXPORTED / "card.json").read_text())
    assert card.lineage.run_id is not None  # the export stage writes it
    with reopen_run(card.lineage.run_id) as tracked, TemporaryDirectory() as folder:
        for file in ("card.json", card.weights.file):
            copyfile(EXPORTED / file, Path(folder) / file)
        source = tracked.log_folder(Path(folder), "model")
        tags = {"sha256": card.weights.sha256, "card_version": card.version, "task": card.task}
        version = register_version(tracked, card.name, source, alias=alias, tags=tags)
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {
        "name": card.name,
        "version": version,
        "alias": alias,
        "run_id": card.lineage.run_id,
        "sha256": card.weights.sha256,
    }
    (RESULTS / "version.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
