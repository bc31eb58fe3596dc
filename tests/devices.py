"""What stands in for devices: a small bundle, and Pythons that hold no more than a device needs."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekd import Pipeline
from tests.chain import write_pipeline

TINY = """
    name: small
    data: {name: digits, image_size: 8}
    stages:
      - {stage: teacher, model: resnet8, epochs: 2}
      - {stage: qat, epochs: 1}
      - {stage: export}
    budget: {accuracy_drop: 0.9, size_ratio: 0.5}
"""


def make_bundle(folder: Path) -> Path:
    """A teacher of digits and its integer file, exported below ``folder``."""
    Pipeline.from_yaml(write_pipeline(folder, TINY)).run(folder / "models", folder / "exports")
    return folder / "exports" / "small"


def make_python(folder: Path, python: str, *packages: str) -> Path:
    """A virtual environment of a Python that holds these packages and nothing else."""
    ours = python == this_python() and find_spec("pip") is not None  # our pip serves it: seconds less
    subprocess.run([python, "-m", "venv", *(["--without-pip"] if ours else []), folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"] if ours else [folder / "bin" / "pip"]
    made = subprocess.run(
        [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no package index can be reached: {made.stderr.splitlines()[-1:]}")
    return folder / "bin" / "python"


def runnable(*versions: str) -> list[str]:
    """Those of these Pythons that are on the path, or where pyenv keeps them, and run."""
    kept = Path.home() / ".pyenv" / "versions"
    found = [shutil.which(f"python{version}") for version in versions]
    found += [str(path) for version in versions for path in sorted(kept.glob(f"{version}.*/bin/python{version}"))]
    return [path for path in found if path and not subprocess.run([path, "-c", ""], capture_output=True).returncode]


def oldest_python() -> str:
    """A Python 3.9."""
    found = runnable("3.9")
    if not found:
        pytest.skip("this machine has no Python 3.9")
    return found[0]


def this_python() -> str:
    """The Python that a virtual environment was made from."""
    return sys._base_executable  # type: ignore[attr-defined,no-any-return]
