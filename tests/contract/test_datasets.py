"""One contract for every dataset."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from edgekd.config import validate
from edgekd.data import (
    AnyData,
    Cifar10,
    Cifar100,
    Dataset,
    DataSettings,
    Digits,
    FashionMnist,
    Function,
    Split,
    as_input,
    batches,
    load_dataset,
    train_batches,
)
from edgekd.data.fashion import DEBIAN
from edgekd.errors import ConfigError
from edgekd.ondevice.sizes import Size, sides
from edgekd.pipeline import Pipeline
from tests.data.pictures import make_tree, noise, save, settings
from tests.data.test_published import make_cifar

FUNCTION = """
import numpy as np

def images():
    draw = lambda count, seed: np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    train, test = draw(20, 0), draw(6, 1)
    train[0, 0, 0, 0] ^= {flip}
    return {{"class_names": ["a", "b"], "train": (train, np.arange(20) % 2), "test": (test, np.arange(6) % 2)}}
"""


class Place:
    """A folder in which a dataset is made.

    Args:
        flip: changes one pixel.
        size: of the images, unless the dataset's usual one.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, flip: int = 0, size: Size | None = None) -> None:
        self.folder, self.patch, self.flip, self.size = folder, patch, flip, size
        folder.mkdir(exist_ok=True)

    def _folder(self, counts: dict[str, int]) -> DataSettings:
        root = make_tree(self.folder / "images", counts)
        pixels = noise(0)
        pixels[10, 12] ^= self.flip
        save(root / next(iter(counts)) / "000.png", pixels)
        return settings(root, image_size=self.size or 16)

    def one_tree(self) -> DataSettings:
        return self._folder({"a": 10, "b": 10})

    def given_splits(self) -> DataSettings:
        return self._folder({f"{part}/{name}": 6 for part in ("train", "val", "test") for name in ("a", "b")})

    def function(self) -> DataSettings:
        self.patch.chdir(self.folder)
        self.patch.delitem(sys.modules, "made_here", raising=False)
        (self.folder / "made_here.py").write_text(FUNCTION.format(flip=self.flip))
        return Function(function="made_here:images", image_size=self.size or 16)

    def cifar10(self) -> DataSettings:
        root = make_cifar(self.folder, self.patch, flip=self.flip)
        return Cifar10(root=str(root), image_size=self.size or 32)

    def cifar100(self) -> DataSettings:
        root = make_cifar(self.folder, self.patch, "cifar100", self.flip)
        return Cifar100(root=str(root), image_size=self.size or 32)

    def digits(self) -> DataSettings:
        return Digits(image_size=self.size or 16)

    def fashion_mnist(self) -> DataSettings:
        if not DEBIAN.is_dir():
            pytest.skip(f"Debian's dataset-fashion-mnist is not in {DEBIAN}")
        return FashionMnist(image_size=self.size or 28)


MAKERS: dict[str, Callable[[Place], DataSettings]] = {
    "digits": Place.digits,
    "fashion_mnist": Place.fashion_mnist,
    "cifar10": Place.cifar10,
    "cifar100": Place.cifar100,
    "folder": Place.one_tree,
    "folder, given splits": Place.given_splits,
    "function": Place.function,
}


DATASETS: list[type[DataSettings]] = list(get_args(get_args(AnyData)[0]))
KEYS = {str(kind.model_fields["name"].default): set(kind.model_fields) for kind in DATASETS}
FOREIGN = [(name, key) for name in KEYS for key in sorted(set().union(*KEYS.values()) - KEYS[name])]
NEEDED = {"folder": {"root": "pictures"}, "function": {"function": "mine:images"}}


@pytest.fixture(scope="module", params=[(name, size) for size in (None, (12, 20)) for name in MAKERS], ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataSettings]:
    with pytest.MonkeyPatch.context() as patch:
        name, size = request.param
        yield MAKERS[name](Place(tmp_path_factory.mktemp("dataset"), patch, size=size))
        sys.modules.pop("made_here", None)


@pytest.fixture(scope="module")
def data(made: DataSettings) -> Dataset:
    return load_dataset(made)


def parts(data: Dataset) -> list[Split]:
    return [data.train, data.val, data.test]


def test_the_contract_runs_over_every_dataset() -> None:
    assert {name.partition(",")[0] for name in MAKERS} == set(KEYS)


def test_images_are_uint8_with_channels_last_and_of_the_wanted_size(data: Dataset, made: DataSettings) -> None:
    for split in parts(data):
        assert split.images.shape == (len(split), *sides(made.image_size), data.in_channels)
        assert split.images[0:2].dtype == torch.uint8
        assert split.images[0:2].shape == (2, *split.images.shape[1:])
        assert split.labels.dtype == torch.int64
    assert data.image_size == made.image_size
    assert data.in_channels in (1, 3)


def test_splits_share_no_image(data: Dataset) -> None:
    train, val, test = ({image.numpy().tobytes() for image in split.images[:]} for split in parts(data))

    assert not train & val
    assert not (train | val) & test


def test_labels_are_numbers_of_classes_and_every_class_is_taught(data: Dataset) -> None:
    for split in parts(data):
        assert int(split.labels.min()) >= 0
        assert int(split.labels.max()) < data.num_classes
    assert set(data.train.labels.tolist()) == set(range(data.num_classes))
    assert len(set(data.class_names)) == data.num_classes == len(data.class_names)


def test_the_fingerprint_is_stable(data: Dataset, made: DataSettings) -> None:
    assert load_dataset(made).fingerprint() == data.fingerprint()


def test_training_images_are_augmented_to_the_wanted_size(data: Dataset, made: DataSettings) -> None:
    images, labels, _ = next(train_batches(data, 4, torch.Generator().manual_seed(0)))

    assert images.shape == (4, data.in_channels, *sides(made.image_size))
    assert images.dtype == torch.float32
    assert len(labels) == 4
    plain = {tuple(image.flatten().tolist()) for image in as_input(data.train.images[:2000])}
    assert not {tuple(image.flatten().tolist()) for image in images} & plain


def test_val_and_test_are_never_augmented(data: Dataset) -> None:
    for split in (data.val, data.test):
        once, again = (torch.cat([images for images, _ in batches(split, 7)]) for _ in range(2))

        assert torch.equal(once, again)
        assert torch.equal(once, as_input(split.images[:]))


@pytest.mark.parametrize("kind", sorted(set(MAKERS) - {"digits", "fashion_mnist"}))
def test_the_fingerprint_is_the_pixels_and_sees_one_of_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [Place(tmp_path / str(number), monkeypatch, flip) for number, flip in enumerate((0, 0, 255))]

    one, same, other = (load_dataset(MAKERS[kind](place)).fingerprint() for place in places)

    assert one == same
    assert one != other


def settings_of(data: object) -> DataSettings:
    stages = [{"stage": "teacher", "model": "resnet8"}]
    return validate(Pipeline, {"name": "some", "data": data, "stages": stages}, "some.yaml").data


@pytest.mark.parametrize(("name", "key"), FOREIGN)
def test_a_key_that_a_dataset_does_not_read_is_refused_with_those_that_it_reads(name: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings_of({"name": name, **NEEDED.get(name, {}), key: True})

    (told,) = error.value.lines
    assert told.startswith(f"some.yaml: data.{key}: unknown key; ")
    assert set(told.partition("known: ")[2].split(", ")) == KEYS[name]


def test_every_unread_key_is_told_by_itself() -> None:
    with pytest.raises(ConfigError) as error:
        settings_of({"name": "cifar10", "grey": True, "on_bad_image": "skip"})

    known = "unknown key; known: augment, balance, download, image_size, labelled, name, root, unlabelled"
    assert error.value.lines == [f"some.yaml: data.{key}: {known}" for key in ("grey", "on_bad_image")]


def test_digits_are_meant_where_no_dataset_is_named() -> None:
    assert settings_of({"image_size": 8}) == Digits(image_size=8)
    assert settings_of({}) == Digits()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"name": "digit"}, "data.name: unknown dataset 'digit'; did you mean 'digits'? known: digits, fashion_mnist"),
        ({"name": 5}, "data.name: unknown dataset '5'; known: digits"),
        ({"name": "folder"}, "data.root: is missing (folder with one folder of images for each class)"),
        ({"name": "function"}, "data.function: is missing (package.module:name"),
        ({"name": "cifar10", "download": True}, "data.download: goes with root"),
        ({"name": "digits", "digits": 3}, "data.digits: unknown key; "),
        ("digits", "data: must be a mapping of keys, found 'digits'"),
    ],
)
def test_a_wrong_dataset_is_told_in_one_line(data: object, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings_of(data)

    assert error.value.lines[0].startswith(f"some.yaml: {told}")


def test_every_setting_of_a_dataset_is_described() -> None:
    fields = [(kind, name, field) for kind in DATASETS for name, field in kind.model_fields.items()]

    assert [f"{kind.__name__}.{name}" for kind, name, field in fields if name != "name" and not field.description] == []
