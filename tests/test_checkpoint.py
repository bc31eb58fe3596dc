"""A training that was stopped goes on to the bit; a checkpoint is whole or not there."""

import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekd.config.progress import Progress
from edgekd.errors import ArtifactError
from edgekd.ondevice.contents import sha256_of
from edgekd.pipeline import Pipeline
from edgekd.training.checkpoint import Checkpoint, Checkpoints, random_states, restore_random_states
from tests.chain import write_pipeline

CHAIN = """
    name: stopped
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2}
    stages:
      - {stage: teacher, model: "tests.contract.unseen:one_activation", epochs: 3, batch_size: 256}
      - {stage: distill, model: resnet8, width_mult: 0.5, epochs: 3, batch_size: 256, stop_teacher_at: 0.4}
      - {stage: qat, epochs: 3, batch_size: 256, stop_teacher_at: 0.4}
"""
STEPS = 4
"""Of one epoch."""


class StopError(Exception):
    """Stands for whatever ends a process."""


class StopAt(Progress):
    """Ends the run at one step of one stage."""

    def __init__(self, stage: str, step: int) -> None:
        self.at, self.said = (stage, step), list[str]()

    def note(self, text: str) -> None:
        self.said.append(text)

    def work(self, label: str, done: int, total: int) -> None:
        if (label, done) == self.at:
            raise StopError


def weights(pipeline: Pipeline, store: Path) -> dict[str, str]:
    """The checksum of every file of weights, by stage."""
    artifacts = {item.name: item.artifact for item in pipeline.plan(store)}
    return {
        f"{name}/{path.name}": sha256_of(path)
        for name, artifact in artifacts.items()
        if artifact is not None
        for path in artifact.folder.glob("*.safetensors")
    }


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.from_yaml(write_pipeline(tmp_path_factory.mktemp("yaml"), CHAIN))


@pytest.fixture(scope="module")
def undisturbed(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    pipeline.run(folder / "models", folder / "exports")
    return weights(pipeline, folder / "models")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "step"), [("teacher", 2), ("teacher", 11), ("distill", 6), ("distill", 10), ("qat", 6)]
)
def test_a_stopped_run_ends_with_the_same_bits(
    pipeline: Pipeline, undisturbed: dict[str, str], tmp_path: Path, stage: str, step: int
) -> None:
    store, exports = tmp_path / "models", tmp_path / "exports"
    with pytest.raises(StopError):
        pipeline.run(store, exports, progress=StopAt(stage, step))
    random.random(), np.random.rand(), torch.rand(1)

    again = StopAt("never", 0)
    pipeline.run(store, exports, progress=again)

    assert len(undisturbed) == 4
    assert weights(pipeline, store) == undisturbed
    epochs = step // STEPS
    assert [said for said in again.said if "going on" in said] == (
        [f"{stage}: going on after epoch {epochs} of 3"] if epochs else []
    )
    assert not list(store.glob("*.partial"))


def test_force_begins_anew(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        pipeline.run(tmp_path / "models", tmp_path / "exports", progress=StopAt("teacher", 9))

    forced = StopAt("distill", 1)
    with pytest.raises(StopError):
        pipeline.run(tmp_path / "models", tmp_path / "exports", force=True, progress=forced)

    assert not [said for said in forced.said if "going on" in said]


def numbers(value: float) -> dict[str, Tensor]:
    return {"model.weight": torch.full((100, 100), value), "model.count": torch.tensor(3)}


def test_only_the_last_two_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")

    for epoch in (1, 2, 3, 10):
        checkpoints.save(epoch, Checkpoint(numbers(epoch), {"epoch": epoch}))

    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "epoch-00003.safetensors",
        "epoch-00010.safetensors",
    ]
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.facts == {"epoch": 10}
    assert torch.equal(latest.part("model")["weight"], numbers(10)["model.weight"])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    for epoch in (1, 2):
        checkpoints.save(epoch, Checkpoint(numbers(epoch), {"epoch": epoch}))
    path = tmp_path / "c" / "epoch-00002.safetensors"
    body = bytearray(path.read_bytes())
    body[-5] ^= 4
    path.write_bytes({"flip": bytes(body), "cut": bytes(body[:-100]), "empty": b""}[damage])

    latest = checkpoints.latest()

    assert latest is not None
    assert latest.facts == {"epoch": 1}


def test_a_disk_that_refuses_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, Checkpoint(numbers(1), {"epoch": 1}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(ArtifactError, match="cannot be written"):
            checkpoints.save(2, Checkpoint(numbers(2), {"epoch": 2}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    latest = checkpoints.latest()
    assert latest is not None
    assert latest.facts == {"epoch": 1}
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_every_generator_goes_on_where_it_was() -> None:
    states = random_states()
    expected = random.random(), float(np.random.rand()), float(torch.rand(1))

    random.random(), np.random.rand(), torch.rand(1)
    restore_random_states(*states)

    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == expected
