"""How long a run will take on this machine's CPU, about: from a few steps of fresh networks."""

import time

import torch
from torch.nn import functional as F

from edgekd.pipeline.init.choices import Choices
from edgekd.pipeline.init.look import Seen
from edgekd.training.safe_backward import trained_safely
from edgekd.zoo import ModelSpec, build, random_images

STEPS = 2
STUDENT = 0.5
"""Of the teacher's time for a step, about: a step of a pruned student."""
QAT = 1.5
"""Of a float step's time: a step with rounding."""


def minutes(seen: Seen, choices: Choices) -> float:
    """Minutes of training, about; a teacher's answer takes a third of its training step."""
    step = _step_seconds(seen, choices)
    steps = max(1, seen.train // choices.batch_size)
    teaching = choices.epochs["distill"] * (STUDENT + 1 / 3) + choices.epochs["qat"] * (QAT * STUDENT + 1 / 3)
    return steps * step * (choices.epochs["teacher"] + teaching) / 60


def _step_seconds(seen: Seen, choices: Choices) -> float:
    spec = ModelSpec(
        name=choices.model,
        num_classes=max(2, len(seen.classes)),
        in_channels=1 if seen.grey else 3,
        image_size=choices.image_size,
    )
    model, images = build(spec).train(), random_images(spec, choices.batch_size)
    labels = torch.arange(choices.batch_size) % spec.num_classes
    began = time.monotonic()
    for number in range(STEPS + 1):
        if number == 1:
            began = time.monotonic()  # the first one warms up
        with trained_safely(model):
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    return (time.monotonic() - began) / STEPS
