"""The networks that all tools get: two whose weights were learned, and two of usual size whose weights are random."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import zoo
from benchmarks.few_bits import imagenet_network, pieces
from edgekd.config.target import Target
from edgekd.data import as_input, load_dataset
from edgekd.pipeline import Pipeline
from edgekd.pruning.criteria import L2
from edgekd.pruning.prune import prune
from edgekd.stages.manifests import FloatModel, manifest_of
from edgekd.zoo import ModelSpec
from tests import lite

CALIBRATION = 256
PIPELINE = Path("pipelines/mobilenet.yaml")


@dataclass(frozen=True)
class Subject:
    """A network, images to calibrate with, and images to answer.

    Args:
        right: what answers are compared with, as the head of a column, and the answers, shape ``(count,)``; None where
            nothing was learned.
    """

    name: str
    model: nn.Module
    spec: ModelSpec
    calibration: Any
    images: Any
    right: tuple[str, Any] | None = None


def subjects(models: Path) -> Iterator[Subject]:
    """Each subject; the student is taken from a store, or made there."""
    yield _student(models)
    yield _imagenet()
    for name in ("mobilenet_v2", "resnet18"):
        yield _untrained(name)


def _student(models: Path) -> Subject:
    whole = Pipeline.from_yaml(PIPELINE)
    student = whole.model_copy(update={"stages": whole.stages[:3]})
    data = load_dataset(student.data)
    with student.made(models, data) as made:
        assert made is not None, "one process alone runs it"
        artifact = made.subject.stages["distill"].artifact
        manifest = manifest_of(artifact, FloatModel)
        model = manifest.load(artifact)
    some = torch.linspace(0, len(data.train) - 1, CALIBRATION).round().long()
    calibration = data.train.images[some].numpy()
    right = ("right on test", data.test.labels.numpy())
    name = "MobileNetV2 at 32 px, pruned and distilled on digits"
    return Subject(name, model, manifest.model.spec, calibration, data.test.images[:].numpy(), right)


def _imagenet() -> Subject:
    model, generator = imagenet_network(), torch.Generator().manual_seed(0)
    calibration, images = (pieces(lite.PHOTOS[i::2], generator) for i in (0, 1))
    with torch.inference_mode():
        said = [model(as_input(batch)).argmax(1) for batch in torch.split(images, 20)]
    right = ("answer of torch's floats", torch.cat(said).numpy())
    name = "EfficientNet-Lite0 at 224 px, ImageNet weights, calibrated on photographs"
    return Subject(name, model, lite.SPEC, calibration.numpy(), images.numpy(), right)


def _untrained(name: str) -> Subject:
    spec = ModelSpec(name=name, num_classes=zoo.CLASSES, in_channels=3, image_size=zoo.SIZE)
    isa = Target().resolved_isa
    pruned = prune(zoo.settled(spec), spec, 0.5, importance=L2(), scope="layer", max_ratio=0.8, isa=isa)
    calibration, images = (zoo.images(count, seed).numpy() for count, seed in ((64, 1), (64, 9)))
    return Subject(f"{name} at {zoo.SIZE} px, pruned by half, random weights", pruned.model, spec, calibration, images)
