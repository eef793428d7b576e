"""Pins: which exact weights an overlay's services load, edited as the git commit an operator pushes.

`OVERLAY/models.yaml` is a kustomize patch with one InferenceService a document: `WHODID_PINS` names task and sha256,
`storageUris` the folder each task's card and weights come from, annotations where they were made.
"""

import io
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.contracts.errors import BadInput, BadUsage, WhodidError
from training.promotion.deployments import Deployment

PINS_FILE = "models.yaml"
SERVICE_OF_TASK = {
    "person_detection": "tracks",
    "face_detection": "tracks",
    "face_embedding": "identity",
    "action": "action",
    "behaviour": "action",
}
_ANNOTATIONS = {"run_id": "whodid/run", "git_commit": "whodid/git-commit", "data_md5": "whodid/data"}


def read_pin(overlay: Path, task: str, stage: str) -> Deployment | None:
    """What the overlay pins for a task; None when it pins nothing.

    Raises:
        BadInput: The overlay has no pins file, or it is not one.
    """
    document = _find_service(_load(overlay / PINS_FILE), overlay, task)
    predictor = document["spec"]["predictor"]
    pins = parse_pins(_find_pins(predictor)["value"])
    if task not in pins:
        return None
    annotations = document["metadata"].get("annotations", {})
    names = annotations.get("whodid/model", "").split()
    place = list(pins).index(task)
    name, _, version = str(names[place] if place < len(names) else task).partition("@")
    uris = {each["mountPath"]: str(each["uri"]) for each in predictor["storageUris"]}
    made = {attribute: str(annotations.get(key, "")) for attribute, key in _ANNOTATIONS.items()}
    return Deployment(stage, task, name, "", version, uris.get(mount_of(task), ""), pins[task], **made)


def write_pin(overlay: Path, deployment: Deployment) -> bool:
    """Pin a deployment in an overlay's file; comments and other services stay as they are.

    Returns:
        Whether anything changed.

    Raises:
        BadInput: The overlay has no pins file, or it is not one.
    """
    path = overlay / PINS_FILE
    documents = _load(path)
    document = _find_service(documents, overlay, deployment.task)
    predictor = document["spec"]["predictor"]
    variable = _find_pins(predictor)
    pins = parse_pins(variable["value"])
    pins[deployment.task] = deployment.sha256
    variable["value"] = format_pins(pins)
    for each in predictor["storageUris"]:
        if each["mountPath"] == mount_of(deployment.task):
            each["uri"] = deployment.uri
            break
    else:
        predictor["storageUris"].append({"uri": deployment.uri, "mountPath": mount_of(deployment.task)})
    annotations = document["metadata"].setdefault("annotations", {})
    names = annotations.get("whodid/model", "").split()
    place = list(pins).index(deployment.task)
    names[place : place + 1] = [f"{deployment.name}@{deployment.card_version}"]
    annotations["whodid/model"] = " ".join(names)
    for attribute, annotation in _ANNOTATIONS.items():
        value = getattr(deployment, attribute)
        if value:
            annotations[annotation] = value
        else:
            annotations.pop(annotation, None)
    before, after = path.read_text(), _dump(documents)
    path.write_text(after)
    return before != after


def parse_pins(value: str) -> dict[str, str]:
    """sha256 by task, from the value of `WHODID_PINS`."""
    return dict(pair.split("=", 1) for pair in value.split(",") if pair)


def format_pins(pins: Mapping[str, str]) -> str:
    """The value of `WHODID_PINS`."""
    return ",".join(f"{task}={sha256}" for task, sha256 in pins.items())


def mount_of(task: str) -> str:
    """Where a task's weights lie in its service's container."""
    return f"/mnt/models/{task}"


def check_unchanged(paths: Sequence[Path]) -> None:
    """Refuse to mix an operator's unfinished edits into a promotion's commit.

    Raises:
        BadUsage: Some file differs from git's, or is not in a repository.
    """
    changed = _git(paths[0].parent, "status", "--porcelain", "--", *(str(path.absolute()) for path in paths))
    if changed:
        raise BadUsage(f"{changed.split(maxsplit=1)[1]} has changes that are not committed: commit or restore it first")


def commit(paths: Sequence[Path], message: str) -> str:
    """Commit exactly these files.

    Returns:
        The commit's hash.

    Raises:
        WhodidError: Git refuses.
    """
    files = [str(path.absolute()) for path in paths]
    _git(paths[0].parent, "add", "--", *files)
    _git(paths[0].parent, "commit", "--quiet", "--message", message, "--", *files)
    return _git(paths[0].parent, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError as fault:
        raise BadUsage(f"cannot run git in {folder}: {fault}") from fault
    if done.returncode:
        raise WhodidError(f"git {arguments[0]} in {folder}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def _load(path: Path) -> list[Any]:
    from ruamel.yaml.error import YAMLError

    try:
        return list(_yaml().load_all(path.read_text()))
    except FileNotFoundError:
        raise BadInput(f"no pins at {path}: the stage's overlay needs a {PINS_FILE}") from None
    except YAMLError as fault:
        raise BadInput(f"{path} is not YAML: {fault}") from None


def _dump(documents: list[Any]) -> str:
    text = io.StringIO()
    _yaml().dump_all(documents, text)
    return text.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    yaml.preserve_quotes = True
    return yaml


def _find_service(documents: Sequence[Any], overlay: Path, task: str) -> Any:
    name = SERVICE_OF_TASK[task]
    for document in documents:
        if document and document.get("kind") == "InferenceService" and document["metadata"]["name"] == name:
            try:
                _find_pins(document["spec"]["predictor"])
            except (KeyError, TypeError, StopIteration):
                break
            return document
    raise BadInput(f"{overlay / PINS_FILE} has no InferenceService {name} with WHODID_PINS and storageUris")


def _find_pins(predictor: Any) -> Any:
    return next(each for each in predictor["model"]["env"] if each["name"] == "WHODID_PINS")
