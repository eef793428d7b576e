"""The import rules hold, and each of them can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LINT = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(LINT, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path, repository: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("services", "training"):
        shutil.copytree(repository / package, tmp_path / package, ignore=ignore)
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rules_hold(repository: Path) -> None:
    result = lint(repository)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("services/contracts/clip.py", "import services.perception.frame"),
        ("services/perception/frame.py", "import services.models.store"),
        ("services/identity/decide.py", "import services.action.segments"),
        ("services/events/join.py", "import training"),
        ("services/tracks/__init__.py", "import av"),
        ("services/identity/decide.py", "import openvino"),
        ("services/graph/__init__.py", "import kserve"),
        ("training/fit.py", "import mlflow"),
        ("services/events/join.py", "import torch"),
    ],
)
def test_a_forbidden_import_is_caught(copy: Path, module: str, line: str) -> None:
    path = copy / module
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint(copy)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout


SERVING = "import services.assembly, services.cli, services.endpoint, services.analysis, services.graph.server"
HEAVY = """
import sys
loaded = {"torch", "mlflow", "dvc", "training"} & set(sys.modules)
sys.exit(bool(loaded))
"""


def run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL).returncode


def test_serving_loads_no_training_library() -> None:
    assert run(SERVING + HEAVY) == 0


def test_the_proof_of_absence_can_fail() -> None:
    assert run("import training" + HEAVY) == 1


def test_help_loads_no_engine() -> None:
    heavy = "'openvino', 'kserve', 'av', 'onnx', 'pandas'"
    assert run(f"import services.cli, sys; sys.exit(bool({{{heavy}}} & set(sys.modules)))") == 0
