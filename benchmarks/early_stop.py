"""When should the teacher stop, and how fast should the labels teach alone after it?

    python -m benchmarks.early_stop > benchmarks/early_stop.txt

A student of Fashion-MNIST on few images, decided on val: the teacher's term to the end, stopped early with a phase of
labels alone, and never there. The teacher is trained once; a seed decides the student's weights and its images' order.
"""

from dataclasses import replace
from statistics import mean, stdev

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.data import Dataset, FashionMnist, load_dataset
from edgekd.data.dataset import Split
from edgekd.stages import Distill
from edgekd.stages.base import frozen
from edgekd.stages.teaching import taught_schedule
from edgekd.training.fit import LossParts, Schedule, fit
from edgekd.zoo import ModelSpec, build, count_params

IMAGES, EPOCHS, SEEDS = 4000, 8, (0, 1, 2)
SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=28)
STOPS = ((0.8, 0.1), (0.8, 0.03), (0.6, 0.3), (0.6, 0.1))
ARMS = {
    "teacher to the end": Distill(epochs=EPOCHS),
    **{
        f"stop at {stop}, labels_lr {lr}": Distill(epochs=EPOCHS, stop_teacher_at=stop, labels_lr=lr)
        for stop, lr in STOPS
    },
    "labels alone": Distill(epochs=EPOCHS, beta=0.0),
}


def main() -> None:
    torch.set_num_threads(1)
    data = _few(load_dataset(FashionMnist(image_size=28)))
    teacher, accuracy = _teacher(data)
    student = build(SPEC.model_copy(update={"width_mult": 0.5}))
    print(f"fashion_mnist: {len(data.train)} training images, {len(data.val)} of val, {EPOCHS} epochs of a student")
    print(f"ResNet-8: teacher of {count_params(teacher):,} parameters, {accuracy:.4f} on val", end="; ")
    print(f"student of {count_params(student):,}")
    print(f"{'':27}{'mean':>7} {'spread':>7}   seeds {SEEDS}", flush=True)
    for name, stage in ARMS.items():
        found = [_accuracy(stage, teacher, data, seed) for seed in SEEDS]
        each = " ".join(f"{value:.4f}" for value in found)
        print(f"{name:27}{mean(found):7.4f} {stdev(found):7.4f}   {each}", flush=True)


def _few(data: Dataset) -> Dataset:
    train = Split(data.train.images[:IMAGES], data.train.labels[:IMAGES])
    return replace(data, train=train, known_fingerprint=None)


def _teacher(data: Dataset) -> tuple[nn.Module, float]:
    torch.manual_seed(0)
    teacher = build(SPEC)
    loss = lambda batch, _: LossParts(F.cross_entropy(teacher(batch.images), batch.labels))  # noqa: E731
    history = fit(teacher, loss, data, Schedule(10, 0.1, 64, 5e-4), seed=0)
    return frozen(teacher), history.best_accuracy


def _accuracy(stage: Distill, teacher: nn.Module, data: Dataset, seed: int) -> float:
    torch.manual_seed(seed)
    student = build(SPEC.model_copy(update={"width_mult": 0.5}))
    return fit(student, stage.batch_loss(student, teacher), data, taught_schedule(stage), seed=seed).best_accuracy


if __name__ == "__main__":
    main()
