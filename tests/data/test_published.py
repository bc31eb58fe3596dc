"""Published datasets: Fashion-MNIST and CIFAR, from generated files of the right format and from the real ones."""

import gzip
import hashlib
import math
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from edgekd.data import Cifar10, Cifar100, Dataset, FashionMnist, load_dataset
from edgekd.data.fashion import CLASS_NAMES, DEBIAN
from edgekd.errors import DataError

CIFAR: dict[str, type[Cifar10 | Cifar100]] = {"cifar10": Cifar10, "cifar100": Cifar100}
NAMES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def idx(shape: tuple[int, ...], kind: int = 8) -> bytes:
    """An IDX file whose byte number i is i modulo 10."""
    header, count = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape), math.prod(shape)
    return header + (bytes(range(10)) * (count // 10 + 1))[:count]


def fashion(root: Path) -> Dataset:
    return load_dataset(FashionMnist(root=str(root), image_size=28))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fashion")
    for name, shape in NAMES.items():
        (root / name).write_bytes(idx(shape))
    return root


def test_fashion_mnist_is_54_6_and_10_thousand(made: Path) -> None:
    data = fashion(made)

    assert [len(split) for split in (data.train, data.val, data.test)] == [54_000, 6_000, 10_000]
    assert data.train.images.shape == (54_000, 28, 28, 1)
    assert data.class_names == CLASS_NAMES
    assert torch.bincount(data.val.labels).tolist() == [600] * 10
    assert data.test.images[0:1].flatten()[:12].tolist() == [*range(10), 0, 1]


def test_fashion_mnist_lies_packed_or_plain_and_where_torchvision_puts_it(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((made / name).read_bytes(), 1))

    assert fashion(tmp_path).fingerprint() == fashion(made).fingerprint()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("train-images-idx3-ubyte", idx((59_999, 28, 28)), "is not an IDX file of 60000 x 28 x 28 bytes"),
        ("t10k-images-idx3-ubyte", idx((10_000, 28, 27)), "is not an IDX file of 10000 x 28 x 28 bytes"),
        ("t10k-labels-idx1-ubyte", idx((10_000,))[:-1], "is not an IDX file of 10000 bytes"),
        ("t10k-labels-idx1-ubyte", idx((10_000,)) + b"\0", "is not an IDX file of 10000 bytes"),
        ("t10k-labels-idx1-ubyte", idx((10_000,), kind=9), "is not an IDX file of 10000 bytes"),
        ("t10k-labels-idx1-ubyte.gz", b"not packed", "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx((10_000,)))[:-9], "cannot be read"),
        ("train-labels-idx1-ubyte", None, "is missing; install Debian's dataset-fashion-mnist"),
    ],
)
def test_a_wrong_file_of_fashion_mnist_is_named(
    made: Path, tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    for other in NAMES:
        (tmp_path / other).symlink_to(made / other)
    (tmp_path / name).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=f"{name}: .*{told}") as caught:
        fashion(tmp_path)

    assert "\n" not in str(caught.value)


def test_a_missing_fashion_mnist_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Fashion-MNIST is not there; install Debian's .* data\.download: true"):
        fashion(tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason=f"Debian's dataset-fashion-mnist is not in {DEBIAN}")
def test_debian_s_fashion_mnist_is_what_it_always_was() -> None:
    data = load_dataset(FashionMnist(image_size=28))

    assert data.fingerprint().startswith("a572b93d")


def cifar_file(classes: int, count: int, seed: int, flip: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    pixels[0, 0] ^= flip
    labels = [number % classes for number in range(count)]
    return pickle.dumps({"data": pixels, "labels" if classes == 10 else "fine_labels": labels})


def make_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, name: str = "cifar10", flip: int = 0) -> Path:
    """Files of CIFAR's format, whose checksums take the place of the published ones.

    Args:
        flip: changes a byte of each file.
    """
    source, classes, count = (CIFAR10, 10, 40) if name == "cifar10" else (CIFAR100, 100, 1000)
    folder = root / source.base_folder
    folder.mkdir(parents=True)

    def write(file: str, content: bytes) -> str:
        (folder / file).write_bytes(content)
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    for seed, lists in ((0, "train_list"), (10, "test_list")):
        files = [file for file, _ in getattr(source, lists)]
        contents = [cifar_file(classes, count, seed + index, flip) for index in range(len(files))]
        monkeypatch.setattr(source, lists, [[f, write(f, content)] for f, content in zip(files, contents, strict=True)])
    names = pickle.dumps({source.meta["key"]: [f"class {number}" for number in range(classes)]})
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": write(source.meta["filename"], names)})
    return root


@pytest.mark.parametrize(("name", "counts"), [("cifar10", [180, 20, 40]), ("cifar100", [900, 100, 1000])])
def test_cifar_is_split_with_a_tenth_of_train_as_val(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, counts: list[int]
) -> None:
    make_cifar(tmp_path, monkeypatch, name)

    data = load_dataset(CIFAR[name](root=str(tmp_path)))

    assert [len(split) for split in (data.train, data.val, data.test)] == counts
    assert data.train.images.shape[1:] == (32, 32, 3)
    assert data.class_names[:2] == ("class 0", "class 1")
    assert len(set(torch.bincount(data.val.labels).tolist())) == 1


def test_the_planes_of_a_cifar_file_become_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar(tmp_path, monkeypatch)
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes())  # noqa: S301  (made above)

    data = load_dataset(Cifar10(root=str(tmp_path)))

    assert np.array_equal(data.test.images[:].numpy(), raw["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert data.test.labels.tolist() == raw["labels"]


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_changed_file_of_cifar_is_refused_before_anything_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    make_cifar(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))

    with pytest.raises(DataError, match=r"cifar-10-batches-py: cifar10 is not there, or damaged \(.*orrupted"):
        load_dataset(Cifar10(root=str(tmp_path)))

    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_missing_cifar_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    for root in (None, str(tmp_path)):
        with pytest.raises(DataError, match=r"set data\.root to the folder that holds cifar-.*/ \(https://.*download"):
            load_dataset(CIFAR[name](root=root))
