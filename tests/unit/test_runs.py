import subprocess

import pytest

from services.contracts.errors import MissingModel
from training.runs import DataInput, find_origin, register_version, reopen_run, start_run


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_origin_outside_git_and_without_data_says_unknown(tmp_path):
    origin = find_origin(tmp_path)
    assert (origin.git_commit, origin.data_md5) == ("unknown", "unknown")
    assert len(origin.environment_sha256) == 64


def test_origin_names_the_commit_the_data_and_whether_files_changed(tmp_path):
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0123abc.dir\n  path: data\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "data.dvc")
    git(tmp_path, "commit", "-m", "pin")
    clean = find_origin(tmp_path)
    assert (len(clean.git_commit), clean.data_md5) == (40, "0123abc.dir")
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 4567def.dir\n  path: data\n")
    assert find_origin(tmp_path).git_commit == f"{clean.git_commit}-dirty"


def test_what_dvc_itself_writes_between_two_stages_is_no_change(tmp_path):
    locks = [tmp_path / "dvc.lock", tmp_path / "infra" / "dvc.lock"]
    code = tmp_path / "infra" / "promote.py"
    code.parent.mkdir()
    for file in [*locks, code]:
        file.write_text("one\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "all")
    clean = find_origin(tmp_path).git_commit
    for lock in locks:
        lock.write_text("two\n")
    assert find_origin(tmp_path).git_commit == clean
    code.write_text("two\n")
    assert find_origin(tmp_path).git_commit == f"{clean}-dirty"


@pytest.mark.filterwarnings("ignore")  # MLflow and its ORM warn about themselves
def test_one_run_over_two_stages_becomes_a_model_version(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "windows.npz").write_bytes(b"windows")
    data = DataInput("windows", tmp_path / "windows.npz", "training")
    with start_run("train_action", {"epochs": 3, "network": {"units": 8}}, [data]) as run:
        run.log_metrics({"loss": 2.0}, step=0)
        run.log_metrics({"loss": 1.0}, step=1)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "card.json").write_text("{}")
    with reopen_run(run.run_id) as again:
        source = again.log_folder(tmp_path / "model", "model")
        version = register_version(again, "net", source, alias="candidate", tags={"sha256": "ab"})

    stored = again.client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"epochs": "3", "network.units": "8"}
    assert stored.data.tags["data_md5"] == "unknown"
    assert stored.inputs.dataset_inputs[0].dataset.name == "windows"
    assert [m.value for m in again.client.get_metric_history(run.run_id, "loss")] == [2.0, 1.0]
    candidate = again.client.get_model_version_by_alias("net", "candidate")
    assert (str(candidate.version), candidate.run_id, candidate.tags["sha256"]) == (version, run.run_id, "ab")
    assert (tmp_path / ".mlflow" / "mlflow.db").is_file()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_fault_leaves_the_run_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="broke"), start_run("train_action", {}, []) as run:
        raise ValueError("broke")
    assert run.client.get_run(run.run_id).info.status == "FAILED"


@pytest.mark.filterwarnings("ignore")
def test_a_run_the_store_does_not_know_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(MissingModel, match="dvc repro --force train_action"), reopen_run("0" * 32):
        pass
