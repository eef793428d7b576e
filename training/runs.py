"""Runs and model versions in MLflow. The only importer of mlflow, and only inside functions.

A pipeline's stages are separate processes: the first opens the run and leaves its id in its results,
later ones reopen it, so one run tells the whole story of one model.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from services.contracts.errors import MissingModel

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "whodid"
LOCAL_FOLDER = Path(".mlflow")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was made from, as far as this checkout can tell.

    Attributes:
        git_commit: Full hash, with "-dirty" when tracked files differ from it; "unknown" outside git.
        data_md5: The md5 in data.dvc; "unknown" without one.
        environment_sha256: Of the sorted list of installed packages and their versions.
    """

    git_commit: str
    data_md5: str
    environment_sha256: str


@dataclass(frozen=True, slots=True)
class DataInput:
    """A file a run learns from; `context` says what for ("training", "validation")."""

    name: str
    path: Path
    context: str


@dataclass(frozen=True, slots=True)
class Run:
    """An open run of the tracking store; `origin` is that of the stage that has it open."""

    run_id: str
    client: "MlflowClient"
    origin: Origin

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Add one value to each metric's history."""
        for name, value in metrics.items():
            self.client.log_metric(self.run_id, name, float(value), step=step)

    def log_folder(self, folder: Path, name: str) -> str:
        """Copy a folder's files into the run.

        Returns:
            The uri of the copy, good for a model version's source.
        """
        self.client.log_artifacts(self.run_id, str(folder), name)
        return f"{self.client.get_run(self.run_id).info.artifact_uri}/{name}"

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        for name, value in tags.items():
            self.client.set_tag(self.run_id, name, value)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registry entry.

    Attributes:
        name: Of the registered model.
        version: Its number, a string.
        run_id: The run that made it.
        source: Uri of the folder with card and weights.
        tags: `sha256`, `card_version` and `task`, as `register` left them.
    """

    name: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the tracking store knows of a run; `inputs` maps each data input's name to its sha256."""

    run_id: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    inputs: Mapping[str, str]


def find_origin(root: Path = Path()) -> Origin:
    """Read git, data.dvc and the packages of this process."""
    commit = _git(root, "rev-parse", "HEAD")
    # dvc writes its lock file after every stage: a later stage of the same `dvc repro` is no less clean for it.
    if commit and _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude,glob)**/dvc.lock"):
        commit += "-dirty"
    pin = root / "data.dvc"
    data_md5 = yaml.safe_load(pin.read_text())["outs"][0]["md5"] if pin.is_file() else UNKNOWN
    packages = "\n".join(sorted({f"{d.name}=={d.version}" for d in metadata.distributions()}))
    return Origin(commit or UNKNOWN, data_md5, hashlib.sha256(packages.encode()).hexdigest())


@contextmanager
def start_run(stage: str, params: Mapping[str, Any], inputs: Sequence[DataInput]) -> Iterator[Run]:
    """Open a run and log where it comes from; a fault inside leaves it marked failed.

    Args:
        stage: Names the run.
        params: Nested parameters; logged under dotted names.
        inputs: What it learns from, logged with its sha256.
    """
    client = _client()
    origin = find_origin()
    info = client.create_run(_experiment_id(client), run_name=stage).info
    run = Run(info.run_id, client, origin)
    run.set_tags(
        {
            "git_commit": origin.git_commit,
            "data_md5": origin.data_md5,
            "environment_sha256": origin.environment_sha256,
        }
    )
    for name, value in _dotted(params):
        client.log_param(run.run_id, name, value)
    _log_inputs(run, inputs)
    with _closing(run):
        yield run


@contextmanager
def reopen_run(run_id: str) -> Iterator[Run]:
    """Go on with a run an earlier stage opened.

    Raises:
        MissingModel: This tracking store does not know it.
    """
    from mlflow.exceptions import MlflowException

    client = _client()
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as fault:
        raise MissingModel(
            f"no run {run_id} in the tracking store {_tracking_uri()}; make it anew: dvc repro --force train_action"
        ) from fault
    run = Run(run_id, client, find_origin())
    with _closing(run):
        yield run


def register_version(run: Run, name: str, source: str, *, alias: str, tags: Mapping[str, str]) -> str:
    """Make a model version of an artifact of `run`, and point `alias` at it.

    Returns:
        The version's number, a string.
    """
    from mlflow.exceptions import MlflowException

    try:
        run.client.get_registered_model(name)
    except MlflowException:
        run.client.create_registered_model(name)
    version = run.client.create_model_version(name, source, run.run_id, tags=dict(tags)).version
    run.client.set_registered_model_alias(name, alias, version)
    return str(version)


def find_version(name: str, version: str) -> ModelVersion:
    """A model version by its number, or by an alias.

    Raises:
        MissingModel: The registry does not know it.
    """
    from mlflow.exceptions import MlflowException

    client = _client()
    try:
        found = (
            client.get_model_version(name, version)
            if version.isdigit()
            else client.get_model_version_by_alias(name, version)
        )
    except MlflowException as fault:
        raise MissingModel(
            f"no version {version!r} of {name!r} in the registry {_tracking_uri()}: make one with `dvc repro`"
        ) from fault
    return ModelVersion(found.name, str(found.version), found.run_id or "", found.source or "", dict(found.tags))


def fetch_version(version: ModelVersion, folder: Path) -> Path:
    """Copy a version's files into `folder`.

    Returns:
        Where they lie.

    Raises:
        MissingModel: The artifact store does not have them.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    _client()
    try:
        return Path(download_artifacts(version.source, dst_path=str(folder), tracking_uri=_tracking_uri()))
    except (MlflowException, OSError) as fault:
        raise MissingModel(f"no files of {version.name}@{version.version} at {version.source}: {fault}") from fault


def find_alias(name: str, alias: str) -> str | None:
    """The version an alias points at."""
    from mlflow.exceptions import MlflowException

    try:
        return str(_client().get_model_version_by_alias(name, alias).version)
    except MlflowException:
        return None


def move_alias(name: str, alias: str, version: str | None) -> None:
    """Point an alias at a version; at none when None."""
    if version is None:
        _client().delete_registered_model_alias(name, alias)
    else:
        _client().set_registered_model_alias(name, alias, version)


def read_run(run_id: str) -> RunRecord | None:
    """A run's record; None when this tracking store does not know it."""
    from mlflow.exceptions import MlflowException

    if not os.environ.get("MLFLOW_TRACKING_URI") and not (LOCAL_FOLDER / "mlflow.db").is_file():
        return None
    try:
        run = _client().get_run(run_id)
    except MlflowException:
        return None
    logged = run.inputs.dataset_inputs if run.inputs else []
    inputs = {each.dataset.name: {tag.key: tag.value for tag in each.tags} for each in logged}
    return RunRecord(
        run_id=run_id,
        status=run.info.status,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags={name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")},
        inputs={name: tags.get("sha256", "") for name, tags in inputs.items()},
    )


def _client() -> "MlflowClient":
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    from mlflow import MlflowClient

    return MlflowClient(_tracking_uri(), _tracking_uri())


def _tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{LOCAL_FOLDER.absolute()}/mlflow.db"


def _experiment_id(client: "MlflowClient") -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment:
        return str(experiment.experiment_id)
    # A server places artifacts itself; SQLite alone would leave them in ./mlruns.
    local = None if os.environ.get("MLFLOW_TRACKING_URI") else (LOCAL_FOLDER / "artifacts").absolute().as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=local))


@contextmanager
def _closing(run: Run) -> Iterator[None]:
    try:
        yield
    except BaseException:
        run.client.set_terminated(run.run_id, "FAILED")
        raise
    run.client.set_terminated(run.run_id, "FINISHED")


def _log_inputs(run: Run, inputs: Sequence[DataInput]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    rows = []
    for data in inputs:
        with data.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        # MLflow keeps 36 characters of a digest; the whole of it goes into a tag.
        dataset = Dataset(name=data.name, digest=sha256[:36], source_type="local", source=str(data.path))
        tags = [InputTag("mlflow.data.context", data.context), InputTag("sha256", sha256)]
        rows.append(DatasetInput(dataset, tags))
    run.client.log_inputs(run.run_id, rows)


def _dotted(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _git(root: Path, *arguments: str) -> str:
    """What git prints, or "" where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
