"""Images that a function of the user's gives."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.data import Dataset, Function, load_dataset
from edgekd.errors import ConfigError, DataError

GOOD = """
import numpy as np

def pixels(count, seed, shape=(12, 12, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)

def good():
    return {
        "class_names": ["cat", "dog"],
        "train": (pixels(20, 0), np.arange(20) % 2),
        "val": (pixels(6, 1), np.arange(6) % 2),
        "test": (pixels(8, 2), np.arange(8) % 2),
    }

def without_val():
    found = good()
    del found["val"]
    return found
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which holds the user's module ``mine``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GOOD)
    yield tmp_path
    sys.modules.pop("mine", None)


def load(name: str = "mine:good", **further: object) -> Dataset:
    return load_dataset(Function.model_validate({"function": name, "image_size": 12, **further}))


def test_what_the_function_gives_becomes_the_dataset(place: Path) -> None:
    before = list(sys.path)

    data = load()

    assert data.class_names == ("cat", "dog")
    assert [len(split) for split in (data.train, data.val, data.test)] == [20, 6, 8]
    wanted = np.random.default_rng(2).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    assert np.array_equal(data.test.images[:].numpy(), wanted)
    assert data.test.labels.tolist() == [0, 1] * 4
    assert sys.path == before


def test_a_missing_val_is_held_out_of_train() -> None:
    data = load("mine:without_val")

    assert torch.bincount(data.val.labels).tolist() == [2, 2]
    assert torch.bincount(data.train.labels).tolist() == [8, 8]
    train, val = ({image.numpy().tobytes() for image in split.images[:]} for split in (data.train, data.val))
    assert not train & val


def test_images_are_brought_to_size() -> None:
    assert load(image_size=10).train.images.shape == (20, 10, 10, 3)


NUMBERS = """
def numbers(channels=6, kind="f4", factor=1.0):
    found = good()
    for part in ("train", "val", "test"):
        count = len(found[part][1])
        values = np.random.default_rng(count).normal(0, factor, (count, 5, 12, channels))
        found[part] = (values.astype(kind), found[part][1])
    return found

def zeros():
    return numbers(factor=0.0)

def many_channels():
    return numbers(kind="u1")

def not_a_number():
    return numbers(factor=np.nan)

def endless():
    found = numbers()
    found["test"][0][0] = np.inf
    return found
"""


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u1"])
def test_numbers_of_any_type_become_levels_of_the_declared_range(place: Path, kind: str) -> None:
    (place / "mine.py").write_text(GOOD + NUMBERS.replace('"f4"', repr(kind)))

    data = load("mine:numbers", image_size=[5, 12], range=[-1, 3])

    given = np.random.default_rng(8).normal(0, 1, (8, 5, 12, 6)).astype(kind).astype(np.float32).clip(-1, 3)
    assert data.in_channels == 6
    assert data.test.images[:].dtype == torch.uint8
    assert np.abs(data.test.given[:].numpy() - given).max() <= 0.51 * 4 / 255
    assert load("mine:numbers", image_size=[5, 12], range=[-1, 3]).fingerprint() == data.fingerprint()


def test_another_range_is_another_dataset_though_the_levels_are_the_same(place: Path) -> None:
    (place / "mine.py").write_text(GOOD + NUMBERS)

    one, other = (load("mine:zeros", image_size=[5, 12], range=unit) for unit in ([-1, 1], [-2, 2]))

    assert torch.equal(one.train.images[:], other.train.images[:])
    assert one.fingerprint() != other.fingerprint()


def test_numbers_are_not_augmented_unless_the_user_says_how() -> None:
    usual, said, pixels = (
        Function.model_validate({"function": "mine:numbers", **given}).augment_name
        for given in ({"range": [0, 1]}, {"range": [0, 1], "augment": "crop_flip"}, {})
    )

    assert (usual, said, pixels) == ("none", "crop_flip", "crop_flip")


def test_many_numbers_outside_of_the_range_are_noted(place: Path) -> None:
    (place / "mine.py").write_text(GOOD + NUMBERS)

    notes = [load("mine:numbers", image_size=[5, 12], range=[-high, high]).notes for high in (1, 5)]

    assert notes[0][0].endswith("% of the numbers of a split lie outside of range, -1 to 1, and are clipped")
    assert notes[1] == ()


@pytest.mark.parametrize("name", ["mine:numbers", "mine:many_channels"])
def test_arrays_that_are_no_pictures_are_not_resized(place: Path, name: str) -> None:
    (place / "mine.py").write_text(GOOD + NUMBERS)
    unit = {"range": [-1, 1]} if name == "mine:numbers" else {}

    with pytest.raises(
        DataError, match=r"data\.image_size: is 12x12, the arrays of .* are 5x12; give image_size: \[5, 12"
    ):
        load(name, **unit)
    assert load(name, image_size=[5, 12], **unit).train.images.shape == (20, 5, 12, 6)


@pytest.mark.parametrize("unit", [5, [1], [1, 1], [2, 1], [0, float("inf")], ["0", "1"], [True, 2], [1e9, 1e9 + 1]])
def test_a_range_that_is_none_is_told(unit: object) -> None:
    with pytest.raises(ValueError, match=r"must be two numbers, \[low, high\], the first one lower; found"):
        Function.model_validate({"function": "mine:numbers", "range": unit})


@pytest.mark.parametrize("name", ["not_a_number", "endless"])
def test_numbers_that_are_none_are_told(place: Path, name: str) -> None:
    (place / "mine.py").write_text(GOOD + NUMBERS)

    with pytest.raises(DataError, match=rf"mine:{name}: .*: has numbers of type float32 that are not all finite"):
        load(f"mine:{name}", image_size=[5, 12], range=[-1, 1])


def test_the_user_s_arrays_are_not_shared(place: Path) -> None:
    (place / "mine.py").write_text(GOOD + "\nkept = good()\ndef same():\n    return kept\n")
    data = load("mine:same")
    before = data.fingerprint()

    sys.modules["mine"].kept["train"][0][:] = 0

    assert data.fingerprint() == before


def test_grey_arrays_without_channels_are_taken(place: Path) -> None:
    (place / "mine.py").write_text(GOOD.replace("(12, 12, 3)", "(12, 12)"))

    assert load().in_channels == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("return [1]", r"mine:bad: gives list; return a dict"),
        ("del found['train']", r"mine:bad: gives no 'train'"),
        ("found['extra'] = 1", r"mine:bad: gives the unknown key 'extra'"),
        ("found['class_names'] = ['cat']", r"mine:bad: gives fewer than two class_names"),
        ("found['class_names'] = ['cat', 'cat']", r"mine:bad: gives fewer than two class_names, or one twice"),
        ("found['class_names'] = [1, 2]", r"mine:bad: gives no list of text under 'class_names'"),
        (
            "found['class_names'] = ['a', '\\ud800']",
            r"mine:bad: gives the class name '.*', which is not UTF-8; rename it",
        ),
        ("found['train'] = 5", r"mine:bad: train: is not a pair; give \(pixels, labels\)"),
        ("found['train'] = (x.astype(float), y)", r"mine:bad: train: has pixels of type float64 .*say data.range"),
        (
            "found['train'] = (np.zeros((20, 9, 9, 257), 'u1'), y)",
            r"mine:bad: train: .*; give .* 1 to 256 channels",
        ),
        ("found['train'] = (x[:0], y[:0])", r"mine:bad: train: has pixels of type uint8 and shape \(0,"),
        ("found['train'] = (x, y[:3])", r"mine:bad: train: has labels of type int64 and shape \(3,\) for 20 images"),
        ("found['train'] = (x, y / 2)", r"mine:bad: train: has labels of type float64"),
        (
            "found['train'] = (x, y + 1)",
            r"mine:bad: train: has labels from 1 to 2; 2 class_names have the numbers 0 to 1",
        ),
        ("found['train'] = (x, y - 1)", r"mine:bad: train: has labels from -1 to 0"),
        ("found['train'] = (x, y * 0)", r"mine:bad: gives no training image of the class 'dog'"),
        ("found['test'] = (x[..., :1], y)", r"mine:bad: gives splits of \[1, 3\] channels"),
        (
            "del found['val']; y[1:] = 0; y[1] = 1",
            r"mine:bad: gives a class with 1 training image, too few to hold out",
        ),
        ("raise KeyError('lost')", r"mine:bad: fails \(KeyError: 'lost'\); .*--debug shows where"),
        ("raise ValueError('one\\ntwo')", r"mine:bad: fails \(ValueError: one\)"),
    ],
)
def test_every_breach_of_the_contract_is_one_line(place: Path, change: str, told: str) -> None:
    (place / "mine.py").write_text(f"{GOOD}\ndef bad():\n    found = good()\n    x, y = found['train']\n    {change}\n"
                                   "    return found\n")  # fmt: skip

    with pytest.raises(DataError, match=told) as caught:
        load("mine:bad")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere:good", "mine:nothing", "mine.deep:good"])
def test_a_function_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.function: '{name}' cannot be imported"):
        load(name)


@pytest.mark.parametrize(
    "name",
    ["mine", "mine:", ":good", "mine:good()", "mine:a.b", "../mine:good", "mine:good\n", "1:a", "os;x:y", "a:b:c"],
)
def test_only_a_dotted_name_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="function\n  String should match pattern"):
        Function(function=name)
