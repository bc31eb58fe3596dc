"""Whole runs of the smallest chain: twice, killed, racing, on flipped bits; always the same bits at the end."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.pipeline import Pipeline
from tests.chain import TINY, write_pipeline

pytestmark = pytest.mark.slow


def made(folder: Path) -> dict[str, str]:
    """Run the chain in a fresh folder; every stage's digest, and the checksum of every file that holds no times."""
    pipeline = Pipeline.from_yaml(write_pipeline(folder, TINY))
    pipeline.run(folder / "models", folder / "exports")
    found = {}
    for item in pipeline.plan(folder / "models"):
        assert item.artifact is not None
        found[item.name] = item.digest
        for name in item.artifact.manifest["files"]:
            found[f"{item.name}/{name}"] = hashlib.sha256(item.artifact.read(name)).hexdigest()
    return found


def test_the_whole_chain_twice_in_two_fresh_stores_gives_the_same_digests_and_bits(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()

    first, second = made(tmp_path / "1"), made(tmp_path / "2")

    assert first == second
    assert {"teacher/weights.safetensors", "qat/ptq.safetensors", "export/distill.onnx"} < set(first)


BENCHMARKS = """
import sys
from tests import brief
brief.patch(setattr)
from benchmarks import bit_flips, kill_anywhere, racing

for benchmark, count in ((kill_anywhere, 4), (racing, 1), (bit_flips, 4)):
    sys.argv[1:] = [str(count)]
    benchmark.main()
"""


@pytest.fixture(scope="module")
def ended() -> "subprocess.CompletedProcess[str]":
    """The benchmarks, one after the other in one process: to import and to set up torch takes it longer than a run."""
    root = Path(__file__).parent.parent
    return subprocess.run([sys.executable, "-c", BENCHMARKS], cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "told",
    [
        "killed 4 times: ",
        "1 races: each left one set of artifacts with the bits of a run alone, and both reports were",
        "4 flips (seed 0): ",
    ],
    ids=["kill_anywhere", "racing", "bit_flips"],
)
def test_whatever_happens_the_bits_are_the_same(ended: "subprocess.CompletedProcess[str]", told: str) -> None:
    """The benchmarks check it; each ends with an error where they are not."""
    assert ended.returncode == 0, ended.stderr
    assert told in ended.stdout
