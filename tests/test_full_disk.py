"""A disk that refuses: one line, the store intact, and the same run goes on when there is room again."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.config.progress import Progress
from edgekd.errors import ArtifactError
from edgekd.pipeline import Pipeline
from edgekd.store.artifacts import Store
from tests.chain import TINY, write_pipeline

STAGES = ["teacher", "prune", "distill", "qat", "export", "report"]
TWO = "\n".join(line for line in TINY.splitlines() if not any(kind in line for kind in ("qat", "export")))
"""Teacher, prune and distill only."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of two million bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2000k", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class FillAt(Progress):
    """Fills a disk to its last byte when a stage begins."""

    def __init__(self, disk: Path, stage: str) -> None:
        self.filler, self.at = disk / "filler", stage

    def stage(self, label: str, index: int, total: int) -> None:
        if label == self.at:
            with contextlib.suppress(OSError), self.filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))


def refused(pipeline: Pipeline, disk: Path, stage: str) -> None:
    """Run, the disk being full from a stage on; then make room."""
    full = FillAt(disk, stage)
    with pytest.raises(ArtifactError, match=r"cannot be written \(.*no space left on device.*check room") as told:
        pipeline.run(disk / "models", disk / "exports", progress=full)
    assert "\n" not in str(told.value)
    assert str(disk) in str(told.value)
    full.filler.unlink()


@pytest.mark.slow
def test_a_full_disk_at_any_stage_is_one_line_and_the_next_run_goes_on(small_disk: Path, tmp_path: Path) -> None:
    pipeline, store = Pipeline.from_yaml(write_pipeline(tmp_path, TINY)), small_disk / "models"

    for number, stage in enumerate(STAGES):
        refused(pipeline, small_disk, stage)
        assert [item.name for item in pipeline.plan(store) if item.artifact] == STAGES[:number]
        assert not list(store.glob(".*"))
    pipeline.run(store, tmp_path / "exports")
    refused(pipeline, small_disk, "report")  # all is measured, only exports/ is left to write
    assert not list((small_disk / "exports").iterdir())
    report = pipeline.run(store, small_disk / "exports")

    assert report is not None
    assert [path.name for path in (small_disk / "exports").iterdir()] == ["tiny"]


RUN = (
    "import resource, sys\n"
    "import edgekd.pipeline, edgekd.cli.terminal, sklearn.datasets\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))\n"
    "from edgekd.cli import main; main()\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [30_000])
def test_a_limit_on_the_size_of_files_is_one_line_and_no_signal(tmp_path: Path, limit: int) -> None:
    path = write_pipeline(tmp_path, TINY)

    done = subprocess.run(
        [sys.executable, "-c", RUN, str(limit), "pipeline", "run", str(path),
         "--models", str(tmp_path / "models"), "--exports", str(tmp_path / "exports")],
        capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip

    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert "cannot be written" in line
    assert "file too large" in line
    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


class LoseAt(Progress):
    """Takes the right to write away when a stage begins."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.at = folder, stage

    def stage(self, label: str, index: int, total: int) -> None:
        if label == self.at:
            self.folder.chmod(0o555)


def test_permissions_that_are_lost_on_the_way_are_one_line_and_what_was_done_stays(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    Pipeline.from_yaml(write_pipeline(tmp_path, TWO)).run(tmp_path / "models", tmp_path / "exports")
    request.getfixturevalue("unprivileged")  # only now: nobody may not import what root has installed
    with tempfile.TemporaryDirectory() as scratch:
        folder, store = Path(scratch), Path(scratch) / "models"
        pipeline = Pipeline.from_yaml(write_pipeline(folder, TWO))

        with pytest.raises(ArtifactError, match=r"cannot be written \(permission denied\); check room and permissions"):
            pipeline.run(store, folder / "exports", progress=LoseAt(store, "distill"))
        with pytest.raises(ArtifactError, match=r"models: cannot be written \(permission denied\)"):
            pipeline.run(store, folder / "exports")
        store.chmod(0o755)

        assert [item.artifact is not None for item in pipeline.plan(store)] == [True, True, False]
        pipeline.run(store, folder / "exports")
        assert all(item.artifact for item in pipeline.plan(store))


def test_python_ignores_the_signal_for_files_too_large(tmp_path: Path) -> None:
    """What makes an OSError of it, in a thread that does not go through the command line too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ArtifactError, match="too large"), Store(tmp_path).writing("0" * 64, {}) as folder:
            (folder / "file").write_bytes(bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []  # noqa: PTH208
