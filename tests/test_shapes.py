"""Images that are no squares, through every stage to a bundle whose runner is started."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekd import Pipeline
from edgekd.bundle.check import predict, verify
from edgekd.config import validate
from edgekd.config.image_size import LEAST_SQUARE
from edgekd.data import Digits, load_dataset
from edgekd.errors import ConfigError
from edgekd.ondevice.contents import read_manifest
from edgekd.ondevice.pixels import fit_image
from edgekd.ondevice.sessions import logits_of_pixels, open_session
from edgekd.report.load import load_report
from tests.data.pictures import save

SHAPE = (10, 18)


def bright_side(seed: int, label: int) -> NDArray[np.uint8]:
    """A coloured picture whose left (0) or right (1) half is bright."""
    pixels = np.random.default_rng(seed).integers(0, 90, (24, 30, 3), dtype=np.uint8)
    pixels[:, 15 * label : 15 * label + 15] += 150
    return pixels


def chain(root: Path, size: object) -> Pipeline:
    usual = {"batch_size": 32, "epochs": 2}
    stages: list[dict[str, Any]] = [
        {"stage": "teacher", "model": "tests.tiny:own_network", **usual},
        {"stage": "prune", "pruning_ratio": 0.5},
        {"stage": "distill", "features": "attention", "mixup": True, **usual},
        {"stage": "ptq"},
        {"stage": "qat", "source": "distill", **usual},
        {"stage": "export"},
    ]
    data = {"name": "folder", "root": str(root / "photos"), "cache": str(root / "cache"), "image_size": size}
    tree = {"name": "wide", "data": data, "target": {"isa": "x86-avx2"}, "stages": stages}
    return validate(Pipeline, tree, "wide.yaml")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs and the bundle of a chain that sees them as 10x18."""
    root = tmp_path_factory.mktemp("wide")
    for number in range(120):
        name = ("left", "right")[number % 2]
        save(root / "photos" / name / f"{number:03}.png", bright_side(number, number % 2))
    chain(root, [*SHAPE]).run(root / "models", root / "exports")
    return root


def started(folder: Path, *arguments: str | Path) -> str:
    command = [sys.executable, "-I", folder / "edgekd_run.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.slow
def test_every_stage_takes_images_that_are_no_squares(ran: Path) -> None:
    report = load_report(ran / "exports" / "wide" / "report.json")

    assert report.data.image_size == SHAPE
    assert [model.id for model in report.models] == ["teacher", "prune", "distill", "ptq", "qat"]
    assert all(model.agreement > 0.9 for model in report.models)
    assert "10x18" in (ran / "exports" / "wide" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_bundle_says_the_shape_and_its_runner_passes_the_self_test(ran: Path) -> None:
    bundle = ran / "exports" / "wide"

    wanted = read_manifest(bundle)["input"]

    assert (wanted["height"], wanted["width"], wanted["channels"]) == (*SHAPE, 3)
    assert "images of 10 x 18 pixels (height, width)" in (bundle / "README.md").read_text(encoding="utf-8")
    assert json.loads(started(bundle, "--selftest", "--json"))["ok"]
    assert verify(bundle)["ok"]


@pytest.mark.slow
def test_the_runner_resizes_a_picture_as_training_did(ran: Path, tmp_path: Path) -> None:
    bundle, pixels = ran / "exports" / "wide", bright_side(999, 1)
    path = save(tmp_path / "new.png", pixels)
    logits = logits_of_pixels(open_session(bundle / "model.onnx"), fit_image(pixels, SHAPE, "crop")[None])[0]

    found = json.loads(started(bundle, path, "--json"))

    wanted = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    shares = {each["name"]: each["probability"] for each in found["classes"]}
    assert shares == pytest.approx({"left": wanted[0], "right": wanted[1]}, abs=1e-5)
    assert predict(bundle, [path]) == [found]


@pytest.mark.slow
def test_a_square_written_as_a_pair_is_the_same_run(ran: Path) -> None:
    plans = [chain(ran, size).plan(ran / "models") for size in (12, [12, 12], [12, 13])]

    one, pair, other = ([item.digest for item in plan] for plan in plans)

    assert one == pair
    assert one != other


@pytest.mark.parametrize(
    "size", [7, 1025, True, 8.0, "32", None, [32], [32, 32, 3], [0, 32], [7, 7], [1, 7], [8, 1025], [8, 8.0]]
)
def test_a_size_that_is_none_is_told_with_what_a_size_is(size: object) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Digits, {"name": "digits", "image_size": size}, "some.yaml")

    told = "some.yaml: image_size: must be a whole number from 8 to 1024, or two, [height, width]; found "
    assert str(caught.value).startswith(told)


def test_one_side_may_be_a_single_pixel() -> None:
    data = load_dataset(validate(Digits, {"name": "digits", "image_size": [1, LEAST_SQUARE]}, "some.yaml"))

    assert data.train.images.shape[1:] == (1, 8, 1)
