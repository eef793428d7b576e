"""The images' build steps, outside a container: an empty environment is filled, starts, answers, and is small."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

MOST_MB = 900
MOST_START_SECONDS = 10.0
ABSENT = ("torch", "mlflow", "dvc", "training", "pip")


@pytest.fixture(scope="module")
def image(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("image") / "whodid"
    command = [repository / "infra" / "images" / "install.sh", target, "cluster,postgresql"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable}, stdout=subprocess.DEVNULL)
    return target


def size_mb(folder: Path) -> float:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


@contextmanager
def serving(image: Path, name: str, **environment: str) -> Iterator[tuple[str, float, float]]:
    """Url, and seconds until ready: on the clock and of processor time."""
    command = [image / "bin" / "python", "-m", f"services.{name}", "--port", "0", "--stay"]
    # As in a container: nothing of this checkout, nothing written beside the code.
    clean = {"PATH": str(image / "bin"), "HOME": environment["WHODID_HOME"], "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=image, env={**clean, **environment}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stderr is not None
        url = next(line for line in process.stderr if "listening on" in line).split()[-1]
        while httpx.get(f"{url}/v2/models/{name}/ready").status_code != 200:
            time.sleep(0.05)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        processor_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        yield url, time.perf_counter() - started, processor_seconds
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_environment_is_small_and_holds_no_training_code(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = size_mb(image)
    with capsys.disabled():
        print(f"\nserving environment: {size:.0f} MB")
    assert size < MOST_MB
    check = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    found = subprocess.run(
        [image / "bin" / "python", "-I", "-c", check], cwd=image, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_every_service_starts_with_the_weights_that_are_pinned(
    image: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    champions = json.loads((models / "champions.json").read_text())
    # As the storage initializer lays them out, without any champions.json.
    for task, sha256 in champions.items():
        shutil.copytree(models / sha256, tmp_path / "models" / task)
    environment = {
        "WHODID_HOME": str(tmp_path),
        "WHODID_MODELS": str(tmp_path / "models"),
        "WHODID_PINS": ",".join(f"{task}={sha256}" for task, sha256 in champions.items()),
    }
    for name in ("tracks", "identity", "action", "events"):
        with serving(image, name, **environment) as (url, seconds, processor_seconds):
            reply = httpx.post(f"{url}/v1/models/{name}:predict", json={"nothing": 1})
        with capsys.disabled():
            print(f"\n{name}: ready after {seconds:.1f} s, {processor_seconds:.1f} s of them on a processor")
        assert (reply.status_code, "not a" in reply.json()["error"]) == (400, True)
        # Processor time: the same on a busy machine, and no less than the clock's on an idle one.
        assert processor_seconds < MOST_START_SECONDS


def test_the_bill_of_materials_names_every_package(image: Path, repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "sbom.cdx.json"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = repository / "infra" / "images" / "inventory.sh"
    subprocess.run([script, image, file], check=True, env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL)
    listed = {component["name"].lower() for component in json.loads(file.read_text())["components"]}
    assert {"openvino", "kserve", "av", "s3fs", "whodid"} <= listed
    assert not {"torch", "mlflow", "pip"} & listed
