"""What decides a result is in its digest: change it, and the stage is to be done again."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from edgekd.config import validate
from edgekd.pipeline import Pipeline
from edgekd.stages import Distill, Stage, Teacher
from edgekd.zoo.weights import imagenet_version
from tests.made import loaded

NETWORK = """
from torch import nn


class Scaled(nn.Module):
    def __init__(self, outputs, inputs):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(inputs, 16, 3, 2, 1), nn.Linear(16, outputs)

    def forward(self, images):
        return FACTOR * self.fc(self.conv(images).relu().mean((2, 3)))


FACTOR = 1


def small(num_classes, in_channels, image_size):
    return Scaled(num_classes, in_channels)
"""
IMAGES = """
import numpy


def images():
    pixels = numpy.random.RandomState(0).randint(0, 256, (40, 8, 8), dtype=numpy.uint8)
    labels = numpy.arange(40) % 2
    return {"class_names": ["a", "b"], "train": (pixels, labels), "test": (pixels[::-1].copy() // 2, labels)}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a network and a dataset of a user's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_for_digests.py").write_text(NETWORK)
    (tmp_path / "images_for_digests.py").write_text(IMAGES)
    yield tmp_path
    for name in ("nets_for_digests", "images_for_digests"):
        sys.modules.pop(name, None)


def pipeline(stages: list[dict[str, Any]], data: dict[str, Any] | None = None) -> Pipeline:
    found = validate(
        Pipeline, {"name": "own", "data": data or {"name": "digits", "image_size": 8}, "stages": stages}, "here"
    )
    found.check("here")
    return found


TEACHER = {"stage": "teacher", "model": "nets_for_digests:small", "epochs": 1, "batch_size": 256}


def digests(one: Pipeline) -> list[str]:
    return [item.digest for item in one.plan()]


def test_a_network_whose_forward_was_changed_is_trained_again_and_runs_the_new_code(here: Path) -> None:
    one = pipeline([TEACHER])
    one.run(here / "models", here / "exports")
    (here / "nets_for_digests.py").write_text(NETWORK.replace("FACTOR = 1", "FACTOR = 0  # all logits are 0"))

    before = one.plan(here / "models")[0].artifact
    one.run(here / "models", here / "exports")

    after = one.plan(here / "models")[0].artifact
    assert before is None
    assert after is not None
    assert not loaded(after)[0](torch.ones(1, 1, 8, 8)).any()


def test_a_student_of_a_user_s_own_is_known_by_its_source(here: Path) -> None:
    student = {"stage": "distill", "model": "nets_for_digests:small"}
    one = pipeline([{"stage": "teacher", "model": "resnet8"}, student])
    before = digests(one)

    (here / "nets_for_digests.py").write_text(NETWORK.replace("FACTOR = 1", "FACTOR = 20"))

    after = digests(one)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_dataset_of_a_user_s_own_is_known_by_its_source_too(here: Path) -> None:
    data = {"name": "function", "function": "images_for_digests:images", "image_size": 8}
    one = pipeline([{"stage": "teacher", "model": "resnet8"}], data)
    before = digests(one)

    (here / "images_for_digests.py").write_text(IMAGES + "# the same images\n")

    assert digests(one) != before


@pytest.mark.parametrize(("stage", "changed"), [(Teacher, 0), (Distill, 1)])
def test_a_stage_whose_arithmetic_changed_is_done_again(
    stage: type[Stage], changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pipeline([{"stage": "teacher", "model": "resnet8"}, {"stage": "distill"}])
    before = digests(one)

    monkeypatch.setattr(stage, "VERSION", stage.VERSION + 1)

    assert [old == new for old, new in zip(before, digests(one), strict=True)] == [changed > 0, False]


def test_imagenet_weights_are_known_by_their_name_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    one = pipeline([{"stage": "teacher", "model": "mobilenet_v2", "weights": "imagenet", "epochs": 1}])
    before = digests(one)
    every = torchvision.models.MobileNet_V2_Weights

    assert imagenet_version("mobilenet_v2").startswith("MobileNet_V2_Weights.IMAGENET1K_V2 https://")
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: _Others)
    assert digests(one) != before
    assert every.DEFAULT is not _Others.DEFAULT


class _Others:
    DEFAULT = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1


def test_timm_s_weights_are_known_by_their_tag_and_place() -> None:
    pytest.importorskip("timm")

    assert "tag=ra_in1k" in imagenet_version("timm/efficientnet_lite0")


def test_balance_is_in_the_digest_and_its_absence_is_not() -> None:
    network = {"stage": "teacher", "model": "resnet8"}
    plain, given, balanced = (
        digests(pipeline([network], {"name": "digits", "image_size": 8, **further}))
        for further in ({}, {"balance": False}, {"balance": True})
    )

    assert plain == given
    assert plain != balanced
