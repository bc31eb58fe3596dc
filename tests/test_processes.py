"""Two processes: each batch is shared, figures and weights are one, and whoever is lost ends the run in one line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from edgekd import Pipeline
from edgekd.data import shared_batches, train_batches
from edgekd.errors import ConfigError, TrainingError
from edgekd.ondevice.contents import sha256_of
from edgekd.report.notes import told_by_stages
from edgekd.training.launch import check_devices, has_peers
from edgekd.training.parallel import ALONE, Processes, joined
from tests.chain import write_pipeline
from tests.made import said
from tests.peers import BATCH, SECONDS, line_and_batch
from tests.tiny import tiny_dataset

ROOT = Path(__file__).parent.parent
CHAIN = """
    name: shared
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2}
    stages:
      - {stage: teacher, model: resnet8, width_mult: 0.5, epochs: 6}
      - {stage: prune, pruning_ratio: 0.3}
      - {stage: qat, epochs: 3}
"""
TORCHRUN = {
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"
}  # fmt: skip


TEACHER_ALONE = CHAIN[: CHAIN.index("      - {stage: prune")]


def command(folder: Path, chain: str = CHAIN) -> list[str]:
    file = write_pipeline(folder, chain)
    places = ["--models", folder / "models", "--exports", folder / "exports"]
    words = ["-m", "edgekd", "pipeline", "run", file, *places, "--devices", 2]
    return [sys.executable, *map(str, words)]


def started(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, TEACHER_ALONE),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read what it says up to a line with the text."""
    assert process.stdout is not None
    while text not in (line := process.stdout.readline()):
        assert line, "the run ended by itself"


def weights(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes under torchrun found."""
    folder = tmp_path_factory.mktemp("found")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tests.peers"]
    done = subprocess.run([*torchrun, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The chain by two processes, undisturbed."""
    folder = tmp_path_factory.mktemp("ran")
    done = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return folder, done


def test_one_process_says_nothing_of_others_and_never_meets_fabric() -> None:
    with joined() as processes:
        assert processes is ALONE
        assert processes.first
        assert "processes" not in processes.record()
    assert "lightning_fabric" not in sys.modules


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_all_processes_are_the_batches_of_one(size: int) -> None:
    data = tiny_dataset(train=50)
    whole = list(train_batches(data, 16, torch.Generator().manual_seed(3)))

    shares = [list(shared_batches(data, 16, torch.Generator().manual_seed(3), rank, size)) for rank in range(size)]

    for step, (_, labels, _) in list(enumerate(whole))[:1]:
        together = [share[step] for share in shares]
        assert max(len(part) for _, part, _ in together) - min(len(part) for _, part, _ in together) <= 1
        assert sorted(torch.cat([part for _, part, _ in together]).tolist()) == sorted(labels.tolist())
    used = torch.cat([images for share in shares for images, _, _ in share]).flatten(1)
    assert len(used) == 48
    assert len(torch.unique(used, dim=0)) == 48


def test_shares_are_augmented_each_in_its_own_way_and_again_the_same() -> None:
    def noise(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(len(images), generator=generator)

    data = tiny_dataset(augment=noise)
    drawn = [
        [images.tolist() for images, _, _ in shared_batches(data, 8, torch.Generator().manual_seed(seed), rank, 2)]
        for seed, rank in ((0, 0), (0, 1), (0, 0), (1, 0))
    ]

    assert drawn[0] == drawn[2]
    assert drawn[0] != drawn[1]
    assert drawn[0] != drawn[3]


@pytest.mark.slow
def test_a_waiting_process_leaves_the_processor_alone(found: list[dict[str, Any]]) -> None:
    assert [each["waited_for"] for each in found] == ["the first's"] * 2
    assert found[1]["cpu_seconds"] < SECONDS / 10


@pytest.mark.slow
def test_figures_statistics_and_answers_are_one(found: list[dict[str, Any]]) -> None:
    assert [each["of_first"] for each in found] == [10, 10]
    assert [each["mean"] for each in found] == [{"a": 0.5}] * 2
    assert [each["statistics"] for each in found] == [[1.5, 1.5, 4.0, 4.0]] * 2
    assert [each["first_then_others"] for each in found] == [0, 1]


@pytest.mark.slow
def test_the_gradient_is_that_of_the_whole_batch_even_where_it_is_shared_unequally(
    found: list[dict[str, Any]],
) -> None:
    model, images, labels = line_and_batch()
    F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]

    assert BATCH % 2 == 1
    assert model.weight.grad is not None
    assert found[0]["gradient"] == found[1]["gradient"]
    assert found[0]["gradient"] == pytest.approx(model.weight.grad.flatten().tolist(), abs=1e-6)


@pytest.mark.slow
def test_every_process_ends_with_the_same_weights_statistics_and_history(found: list[dict[str, Any]]) -> None:
    assert found[0]["trained"] == found[1]["trained"]
    assert found[0]["trained"]["sums"]["unused"] == 2.0
    losses = [losses["loss"] for losses, _, _ in found[0]["trained"]["figures"]]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_mistake_that_the_first_meets_ends_all_and_is_told_once(found: list[dict[str, Any]]) -> None:
    assert [each["failure"] for each in found] == ["ModelError: weights: are missing", "SystemExit: 2"]


@pytest.mark.slow
def test_two_processes_run_a_chain_and_leave_what_one_would(
    ran: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = ran

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("[")] == ["[1/4] teacher", "[2/4] prune", "[3/4] qat"]
    assert len([line for line in lines if "teacher epoch" in line]) == 6
    planned = Pipeline.from_yaml(folder / "small.yaml").plan(folder / "models")
    made = {item.name: said(item.artifact) for item in planned if item.artifact}
    assert list(made) == ["teacher", "prune", "qat"]
    assert {each.environment["processes"] for each in made.values()} == {"2"}
    assert len(list((folder / "models").iterdir())) == 3
    told = told_by_stages(made)
    assert [note for note in told if "processes" in note] == [
        "teacher: trained by 2 processes, each normalising its own share of a batch",
        "qat: trained by 2 processes, each normalising its own share of a batch",
    ]


@pytest.mark.slow
def test_two_processes_teach_as_well_as_one(ran: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """Of 288 images 3 % either way are two standard deviations at 95 % right."""
    folder, _ = ran
    pipeline = Pipeline.from_yaml(folder / "small.yaml")
    pipeline.run(tmp_path / "models", tmp_path / "exports")

    for item, alone in zip(pipeline.plan(folder / "models"), pipeline.plan(tmp_path / "models"), strict=True):
        assert item.artifact is not None
        assert alone.artifact is not None
        if said(alone.artifact).history:
            accuracies = [said(found).accuracy or 0 for found in (item.artifact, alone.artifact)]
            assert min(accuracies) > 0.9
            assert accuracies[0] == pytest.approx(accuracies[1], abs=0.03)


@pytest.mark.slow
def test_after_ctrl_c_and_a_killed_process_the_run_goes_on_to_the_same_bits(
    ran: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for harm, code, told in (
        (interrupt, 130, "edgekd: interrupted; complete stages and epochs are kept: run the same command to go on"),
        (kill_second, 3, "edgekd: --devices: process 2 of 2 was killed (SIGKILL); complete stages and epochs are kept: "
                         "run the same command to go on"),
    ):  # fmt: skip
        process = started(tmp_path)
        try:
            until(process, "teacher epoch")
            peers = workers(process.pid)
            harm(process.pid)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, err.splitlines()) == (code, [told])
        assert [pid for pid in peers if Path(f"/proc/{pid}").exists()] == []

    again = command(tmp_path, TEACHER_ALONE)
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    assert "teacher: going on after epoch" in done.stdout
    assert len(weights(tmp_path)) == 1
    assert weights(tmp_path).items() <= weights(ran[0]).items()


def workers(launcher: int) -> list[int]:
    """The processes that it started, in order."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text(encoding="utf-8").split()
    return sorted(map(int, children), key=rank_of)


def rank_of(pid: int) -> str:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(each.decode() for each in variables if each.startswith(b"RANK="))


def interrupt(launcher: int) -> None:
    os.kill(launcher, signal.SIGINT)


def kill_second(launcher: int) -> None:
    os.kill(workers(launcher)[1], signal.SIGKILL)


OWN = """
import os
import numpy as np

def images():
    if os.environ["RANK"] == "1":
        raise OSError("no such share")
    pixels, labels = np.zeros((30, 8, 8), np.uint8), np.arange(30) % 2
    return {"class_names": ["a", "b"], "train": (pixels, labels), "test": (pixels, labels)}
"""


@pytest.mark.slow
def test_a_mistake_that_only_another_process_meets_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "own_images.py").write_text(OWN, encoding="utf-8")
    words = [*command(tmp_path), "--set", "data={name: function, function: 'own_images:images', image_size: 8}"]
    code = f"import sys; sys.path.append({str(ROOT)!r}); from edgekd.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", code, *words[3:]], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 2
    assert done.stderr == (
        "edgekd: own_images:images: fails (OSError: no such share); "
        "it is called without arguments; --debug shows where it fails\n"
    )


def test_the_batch_must_be_large_enough_for_all() -> None:
    Processes(0, 4).check_batch(8, "batch_size")
    ALONE.check_batch(1, "batch_size")
    with pytest.raises(TrainingError, match="batch_size: 7 images cannot be split over 4 processes; a process needs 2"):
        Processes(0, 4).check_batch(7, "batch_size")


def test_peers_are_those_that_torchrun_s_variables_tell_of() -> None:
    assert has_peers(TORCHRUN)
    assert not has_peers({**os.environ})
    for name in TORCHRUN:
        assert not has_peers({key: value for key, value in TORCHRUN.items() if key != name})


def test_torchrun_decides_how_many_processes_there_are() -> None:
    check_devices(1, TORCHRUN)
    check_devices(2, TORCHRUN)
    check_devices(8, {})
    with pytest.raises(ConfigError, match="--devices: 8, but 2 processes were started on this machine; leave it out"):
        check_devices(8, TORCHRUN)
