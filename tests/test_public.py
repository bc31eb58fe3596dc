"""What ``import edgekd`` offers: documented, importable at once, and as docs/library.md shows it."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import edgekd
from edgekd.errors import EdgekdError, PruningError
from edgekd.onnx_export import ort
from tests.tiny import tiny_convnet

LIBRARY = Path(__file__).parent.parent / "docs" / "library.md"
IMAGES = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", edgekd.__all__)
def test_every_public_name_says_what_it_takes_and_raises(name: str) -> None:
    thing = getattr(edgekd, name)

    text = inspect.getdoc(thing) or ""
    parameters = inspect.signature(thing).parameters if inspect.isfunction(thing) else {}
    assert text
    assert all(f"{parameter}:" in text for parameter in parameters)
    assert name == "Pipeline" or "Raises:" in text
    assert name in dir(edgekd)


@pytest.mark.slow
def test_the_names_are_there_at_once_and_cost_nothing_until_they_are_used() -> None:
    code = (
        "import sys, edgekd\n"
        "assert set(edgekd.__all__) <= set(dir(edgekd))\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules), sorted(sys.modules)\n"
        "edgekd.kd_loss\n"
        "assert not {'torchao', 'torch_pruning', 'torchvision', 'onnxruntime'} & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_other_name_is_offered() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = edgekd.train


def test_what_docs_library_shows_runs_as_it_is_shown() -> None:
    failed, tried = doctest.testfile(str(LIBRARY), module_relative=False, optionflags=doctest.REPORT_NDIFF)

    assert failed == 0
    assert tried > 12
    assert all(f"edgekd.{name}" in LIBRARY.read_text(encoding="utf-8") for name in edgekd.__all__ if "_" not in name)


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


def test_images_that_are_no_squares_are_exported_in_their_shape(tmp_path: Path) -> None:
    path = edgekd.export(tiny_convnet(), tmp_path / "model.onnx", IMAGES[..., :6])

    assert ort.session(path).get_inputs()[0].shape == ["batch", 8, 6, 1]


@pytest.mark.parametrize(
    ("model", "images", "told"),
    [
        (tiny_convnet(), IMAGES[0], r"images: must be images .*, found \(1, 8, 8\)"),
        (nn.Conv2d(1, 2, 3), IMAGES, r"model: must give logits \(count, classes\), found \(8, 2, 6, 6\)"),
        (Pair(), IMAGES, r"model: must give logits \(count, classes\), found tuple"),
    ],
)
def test_what_is_no_classifier_of_images_is_refused_in_one_line(
    tmp_path: Path, model: nn.Module, images: Tensor, told: str
) -> None:
    for step in (
        lambda: edgekd.prune(model, images, 0.5),
        lambda: edgekd.quantize(model, [images]),
        lambda: edgekd.export(model, tmp_path / "model.onnx", images),
    ):
        with pytest.raises(EdgekdError, match=told):
            step()
    assert list(tmp_path.iterdir()) == []


def test_the_network_that_was_given_stays_as_it_was() -> None:
    model = tiny_convnet().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    smaller = edgekd.prune(model, IMAGES, 0.5, isa="arm64")
    edgekd.quantize(model, [IMAGES])

    assert model.training
    assert not smaller.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(PruningError, match="nothing is removed"):
        edgekd.prune(model, IMAGES, 0.01)
