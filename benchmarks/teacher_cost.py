"""What does a teacher cost a step of training, asked in every step and with its answers kept (``views``)?

    OMP_NUM_THREADS=1 python -m benchmarks.teacher_cost > benchmarks/teacher_cost.txt

A student is trained on the same batches in three ways, each with weights of its own: by the labels alone, with a
teacher that answers each batch, and with a teacher whose answers to these batches are in a file. In each round every
way does a few steps, in an order drawn anew; the ratio to labels alone is taken round by round. Needs a machine that
does nothing else.
"""

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

import torch
from scipy.stats import t
from torch import nn

from benchmarks import tiny_runs
from edgekd.data import Batch
from edgekd.stages import Distill
from edgekd.stages.base import frozen
from edgekd.stages.teaching import taught_schedule
from edgekd.training.answers import KeptAnswers
from edgekd.training.fit import BatchLoss, sgd
from edgekd.training.safe_backward import trained_safely
from edgekd.zoo import ModelSpec, build, count_macs
from edgekd.zoo.spec import random_images

ROUNDS, STEPS, BATCH = 30, 4, 64
STAGE = Distill(epochs=1, batch_size=BATCH)
MOBILENET = ModelSpec(name="mobilenet_v2", num_classes=10, in_channels=1, image_size=32)
RESNET = ModelSpec(name="resnet14", num_classes=10, in_channels=1, image_size=28, width_mult=2.0)
PAIRS = ((MOBILENET, 0.5), (RESNET, 0.5), (RESNET, 0.25))


@dataclass
class Way:
    """A student in training.

    Args:
        student: what is trained.
        loss: of a batch.
        seconds: of each round's steps.
    """

    student: nn.Module
    loss: BatchLoss
    seconds: list[float]

    def __post_init__(self) -> None:
        self._optimizer = sgd(self.student, taught_schedule(STAGE))

    def train(self, batches: list[Batch]) -> None:
        began = time.perf_counter()
        with trained_safely(self.student):
            for batch in batches:
                loss = self.loss(batch, 0.0)
                self._optimizer.zero_grad(set_to_none=True)
                loss.total.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
        self.seconds.append(time.perf_counter() - began)


def main() -> None:
    torch.set_num_threads(1)
    print(tiny_runs.machine())
    print(f"one thread, batches of {BATCH}, {ROUNDS} rounds of {STEPS} steps; ratio to labels alone [95 % interval]")
    for spec, width in PAIRS:
        with tempfile.TemporaryDirectory() as scratch:
            compare(spec, width, Path(scratch))


def compare(spec: ModelSpec, width: float, scratch: Path) -> None:
    """Print what the teacher of an architecture costs a student of a share of its width."""
    small = spec.model_copy(update={"width_mult": width * spec.width_mult})
    teacher = frozen(build(spec).to(memory_format=torch.channels_last))
    share = count_macs(teacher, spec) / count_macs(build(small), small)
    print(f"\n{spec.name} at {spec.image_size} px, a student of 1/{share:.1f} of the MACs")
    kept = KeptAnswers(scratch / "answers", spec.num_classes)
    ways = {
        "labels alone": way(small, lambda student: STAGE.batch_loss(student, None)),
        "teacher asked": way(small, lambda student: STAGE.batch_loss(student, teacher)),
        "answers kept": way(small, lambda student: STAGE.batch_loss(student, teacher, kept=kept)),
    }
    batches, order = shown(spec), random.Random(0)  # noqa: S311  (no secret)
    for _ in range(ROUNDS + 1):
        for name in order.sample(sorted(ways), len(ways)):
            ways[name].train(batches)
    alone = ways["labels alone"].seconds[1:]
    for name, found in ways.items():
        seconds = found.seconds[1:]  # the first round warms up, and fills the file
        ratios = [one / other for one, other in zip(seconds, alone, strict=True)]
        print(f"{name:14} {STEPS / median(seconds):6.2f} steps a second  {in_words(ratios)}", flush=True)


def way(spec: ModelSpec, loss: Callable[[nn.Module], BatchLoss]) -> Way:
    student = build(spec).to(memory_format=torch.channels_last).train()
    return Way(student, loss(student), [])


def shown(spec: ModelSpec) -> list[Batch]:
    images = torch.split(random_images(spec, STEPS * BATCH), BATCH)
    labels = torch.arange(BATCH) % spec.num_classes
    return [Batch(batch, labels, place) for place, batch in enumerate(images)]


def in_words(ratios: list[float]) -> str:
    half = t.ppf(0.975, len(ratios) - 1) * stdev(ratios) / len(ratios) ** 0.5
    return f"{mean(ratios):.3f} [{mean(ratios) - half:.3f}, {mean(ratios) + half:.3f}]"


if __name__ == "__main__":
    main()
