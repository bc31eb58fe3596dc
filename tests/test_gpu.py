"""Training on a GPU; skipped where torch sees none."""

import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.data import Batch, train_batches
from edgekd.data.augment import augmentation
from edgekd.errors import TrainingError
from edgekd.pipeline import Pipeline
from edgekd.training.checkpoint import Checkpoints
from edgekd.training.evaluation import evaluate
from edgekd.training.fit import BatchLoss, LossParts, Schedule, fit
from tests.chain import YAML, write_pipeline
from tests.made import said
from tests.stages.test_trials import Noting, alike, made, pipeline, tensors
from tests.test_training import Told
from tests.tiny import tiny_convnet, tiny_dataset

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
SCHEDULE = Schedule(4, 0.1, 8, 0.0)


def with_dropout() -> nn.Module:
    net = tiny_convnet(8)
    return nn.Sequential(*net[:-1], nn.Dropout(0.2), net[-1])


def loss_of(model: nn.Module, places: set[str] | None = None, breaks_at: float = 2.0) -> BatchLoss:
    def loss(batch: Batch, progress: float) -> LossParts:
        if places is not None:
            places.update({batch.images.device.type, batch.labels.device.type, next(model.parameters()).device.type})
        ce = F.cross_entropy(model(batch.images), batch.labels)
        return LossParts(ce * float("inf") if progress >= breaks_at else ce)

    return loss


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@needs_gpu
def test_a_network_is_trained_on_the_gpu_and_comes_back() -> None:
    model, places, told = tiny_convnet(8), set[str](), Told()

    history = fit(model, loss_of(model, places), tiny_dataset(), SCHEDULE, seed=1, progress=told)

    assert places == {"cuda"}
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert history.best_accuracy == evaluate(model, tiny_dataset().val).accuracy == 1.0
    assert told.notes == [f"train: training on the GPU ({torch.cuda.get_device_name()})"]


@needs_gpu
@pytest.mark.parametrize("augment", ["none", "crop_flip", "shift_rotate_scale", "photo"])
def test_the_gpu_s_batches_are_the_cpu_s_and_draw_as_many_random_numbers(augment: str) -> None:
    data = tiny_dataset(augment=augmentation(augment, 8))
    here, there = (torch.Generator().manual_seed(3) for _ in range(2))

    on_cpu = list(train_batches(data, 7, here))
    on_gpu = list(train_batches(data, 7, there, torch.device("cuda")))

    assert {batch.images.device.type for batch in on_gpu} == {"cuda"}
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in on_gpu)
    assert torch.equal(here.get_state(), there.get_state())
    for one, other in zip(on_cpu, on_gpu, strict=True):
        assert torch.equal(one.labels, other.labels.cpu())
        # The GPU rounds sines and the weights of neighbouring pixels otherwise.
        assert torch.allclose(one.images, other.images.cpu(), atol=0 if augment in ("none", "crop_flip") else 1e-3)


@needs_gpu
def test_nobody_reads_ahead_after_a_training_that_failed() -> None:
    model = tiny_convnet(8)

    with pytest.raises(TrainingError, match="epoch 3"):
        fit(model, loss_of(model, breaks_at=0.5), tiny_dataset(), SCHEDULE, seed=1)

    assert not [thread.name for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


@needs_gpu
def test_a_network_trained_on_the_gpu_lies_in_memory_as_before() -> None:
    model = tiny_convnet(8)
    before = [parameter.stride() for parameter in model.parameters()]

    fit(model, loss_of(model), tiny_dataset(), SCHEDULE, seed=1)

    assert [parameter.stride() for parameter in model.parameters()] == before


@needs_gpu
def test_what_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Dropout draws from the GPU's own generator."""
    torch.manual_seed(5)
    through, stopped = with_dropout().train(), with_dropout().train()
    saved = Checkpoints(tmp_path / "saved")

    torch.manual_seed(6)
    fit(through, loss_of(through), tiny_dataset(), SCHEDULE, seed=1)
    torch.manual_seed(6)
    with pytest.raises(TrainingError, match="epoch 3"):
        fit(stopped, loss_of(stopped, breaks_at=0.5), tiny_dataset(), SCHEDULE, seed=1, checkpoints=saved)
    torch.manual_seed(7)
    fit(stopped, loss_of(stopped), tiny_dataset(), SCHEDULE, seed=1, checkpoints=saved)

    assert same(through, stopped)


@needs_gpu
def test_a_chain_is_trained_on_the_gpu_and_says_so(tmp_path: Path) -> None:
    text = YAML.replace("{stage: distill, epochs: 3}", "{stage: distill, epochs: 3, precision: bf16}")
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, text.partition("      - {stage: export")[0]))

    pipeline.run(tmp_path / "models")

    made = {item.name: item.artifact for item in pipeline.plan(tmp_path / "models") if item.artifact}
    assert list(made) == ["teacher", "prune", "distill", "qat"]
    assert {said(item).environment["gpu"] for item in made.values()} == {torch.cuda.get_device_name()}
    trained = said(made["qat"]).history
    assert trained is not None
    assert trained.epochs[-1].val_accuracy > 0.8


@needs_gpu
def test_every_way_of_teaching_works_on_the_gpu_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    teacher = {"stage": "teacher", "model": "resnet8", "epochs": 4, "batch_size": 256, "keep_epochs": [2]}
    ways = {"mixup": True, "features": "channels", "temperature": "auto", "teacher_epoch": "auto"}
    student = {"stage": "distill", "epochs": 4, "batch_size": 256, **ways}
    one = pipeline(teacher, {"stage": "prune", "pruning_ratio": 0.5}, student)
    for ends_at in ("teacher 3/4", "distill: teacher_epoch 4 1/1", "distill 2/4"):
        with pytest.raises(KeyboardInterrupt):
            one.run(tmp_path / "stopped", tmp_path, progress=Noting(ends_at))

    stopped, never = made(one, tmp_path / "stopped"), made(one, tmp_path / "never")

    assert alike(tensors(stopped), tensors(never))
