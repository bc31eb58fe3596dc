"""Folders of images: layouts, splits, odd files, copies."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from edgekd.data import Dataset, Split, load_dataset
from edgekd.errors import DataError
from edgekd.ondevice.pixels import fit_image, middle_part
from tests.data.pictures import make_tree, noise, raw_png, save, settings


def rows(split: Split) -> list[bytes]:
    """Every image of a split as bytes, sorted."""
    return sorted(image.numpy().tobytes() for image in split.images[:])


def fitted(root: Path, size: int = 8) -> dict[bytes, str]:
    """What every image of a folder becomes, and its path."""
    every = [path for path in root.rglob("*.png") if path.is_file()]
    return {fit_image(np.asarray(Image.open(p)), size, "crop").tobytes(): str(p.relative_to(root)) for p in every}


def splits(data: Dataset) -> dict[str, Split]:
    return {"train": data.train, "val": data.val, "test": data.test}


def paths(data: Dataset, root: Path) -> dict[str, set[str]]:
    """The files of each split."""
    names = fitted(root)
    return {part: {names[row] for row in rows(split)} for part, split in splits(data).items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "images"


def load(root: Path, **further: object) -> Dataset:
    return load_dataset(settings(root, **further))


def refused(root: Path, **further: object) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **further)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_tree_is_split_64_16_20_each_class_by_itself(root: Path) -> None:
    make_tree(root, {"b": 50, "a": 25})

    data = load(root)

    assert data.class_names == ("a", "b")
    counts = {part: torch.bincount(split.labels).tolist() for part, split in splits(data).items()}
    assert counts == {"train": [16, 32], "val": [4, 8], "test": [5, 10]}
    assert sorted(row for split in splits(data).values() for row in rows(split)) == sorted(fitted(root))


def test_every_image_has_the_label_of_its_folder(root: Path) -> None:
    names = fitted(make_tree(root, {"a": 6, "b/deep/er": 3, "b": 3, "c": 5}))

    data = load(root)

    for split in splits(data).values():
        folders = [names[image.numpy().tobytes()].partition("/")[0] for image in split.images[:]]
        assert [data.class_names[label] for label in split.labels.tolist()] == folders


def test_given_splits_are_kept(root: Path) -> None:
    make_tree(root, {f"{part}/{name}": 4 for part in ("train", "val", "test") for name in ("a", "b")})

    found = paths(load(root), root)

    assert {part: {path.partition("/")[0] for path in some} for part, some in found.items()} == {
        part: {part} for part in ("train", "val", "test")
    }
    assert {part: len(some) for part, some in found.items()} == {"train": 8, "val": 8, "test": 8}


def test_a_missing_val_is_a_fifth_of_train(root: Path) -> None:
    make_tree(root, {"train/a": 10, "train/b": 20, "test/a": 3, "test/b": 3})

    data = load(root)

    assert torch.bincount(data.val.labels).tolist() == [2, 4]
    assert torch.bincount(data.train.labels).tolist() == [8, 16]
    assert {path.partition("/")[0] for path in paths(data, root)["val"]} == {"train"}


def test_a_class_may_be_called_train(root: Path) -> None:
    assert load(make_tree(root, {"car": 5, "train": 5})).class_names == ("car", "train")


@pytest.mark.parametrize("folders", [{"train/a": 3, "train/b": 3}, {"train/a": 3, "train/b": 3, "val/a": 1}])
def test_train_without_test_is_refused(root: Path, folders: dict[str, int]) -> None:
    assert "images: has train/ but no test/; add test/" in refused(make_tree(root, folders))


def test_training_images_keep_a_margin_that_only_augmentation_sees(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5})
    larger = {middle_part(np.asarray(Image.open(path)), 16).tobytes() for path in root.rglob("*.png")}

    data = load(root, image_size=14)

    assert data.train.uncropped is not None
    assert data.train.uncropped.shape == (6, 16, 16, 3)
    assert {image.numpy().tobytes() for image in data.train.uncropped[:]} <= larger
    assert torch.equal(data.train.uncropped[:][:, 1:15, 1:15], data.train.images[:])
    assert (data.image_size, data.in_channels) == (14, 3)
    assert [split.images.shape[1:] for split in splits(data).values()] == [(14, 14, 3)] * 3


@pytest.mark.parametrize("further", [{"augment": "crop_flip"}, {"resize": "stretch"}])
def test_without_crops_of_photos_there_is_no_margin(root: Path, further: dict[str, object]) -> None:
    assert load(make_tree(root, {"a": 5, "b": 5}), **further).train.uncropped is None


def test_grey_is_one_channel(root: Path) -> None:
    assert load(make_tree(root, {"a": 5, "b": 5}), grey=True).in_channels == 1


def test_names_in_any_script_are_read(root: Path) -> None:
    names = ["猫 と 犬", "Ωmega é", "ق", "a\nb\x1b[31m<b>", "-rf *"]
    make_tree(root, dict.fromkeys(names, 4))

    assert load(root).class_names == tuple(sorted(names))


def test_the_longest_names_are_read(root: Path) -> None:
    names = ["猫" * 85, "x" * 255]
    make_tree(root, dict.fromkeys(names, 4))
    for path in list((root / names[0]).iterdir()):
        path.rename(path.with_name(f"{path.stem}{'é' * 124}.png"))

    assert load(root).class_names == tuple(sorted(names))


def test_a_class_whose_name_is_not_utf_8_is_refused(root: Path) -> None:
    make_tree(root, {"a": 4, "b": 4})
    os.rename(root / "b", os.fsencode(root) + b"/\xff")  # noqa: PTH104  (bytes)

    assert "the name of the class '\\udcff' is not UTF-8; rename it" in refused(root)


def test_an_error_writes_control_characters_out(root: Path) -> None:
    make_tree(root, {"a": 3, "b": 3})
    (root / "a" / "x\x1b[2J\n.png").write_bytes(b"")

    told = refused(root)

    assert told.isprintable()
    assert "x\\x1b[2J" in told


def test_hidden_and_left_behind_files_are_passed_over_without_a_word(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5, ".git": 2, "__MACOSX": 2, "a/.thumbs": 2})
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png"):
        (root / "a" / name).write_bytes(b"junk")
        (root / name).write_bytes(b"junk")

    data = load(root)

    assert data.class_names == ("a", "b")
    assert data.notes == ()


def test_files_that_are_no_images_by_name_are_counted(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5})
    for name in ("labels.csv", "a/notes.txt", "a/more.json", "b/film.mp4", "b/README"):
        (root / name).write_bytes(b"text")

    (note,) = load(root).notes

    assert note == "5 files that are not images were ignored: labels.csv, a/more.json, a/notes.txt and 2 more"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a known image format"),
        (b"GIF89a", "not a known image"),
        (raw_png(9, 9, 8, 2, b"\0"), "truncated"),
        (raw_png(30_000, 3_000, 8, 0, b""), "too many"),
        (raw_png(60_000, 60_000, 8, 0, b""), "exceeds limit"),
    ],
)
def test_a_bad_image_is_named_or_skipped_and_told(root: Path, content: bytes, reason: str) -> None:
    make_tree(root, {"a": 5, "b": 5})
    (root / "b" / "bad.png").write_bytes(content)

    told = refused(root)
    data = load(root, on_bad_image="skip")

    assert told.startswith(f"{root}/b/bad.png: cannot be read as an image (")
    assert reason in told
    assert told.endswith("fix or remove it, or set data.on_bad_image: skip")
    assert data.notes == ("1 image could not be read and was skipped: b/bad.png",)
    assert sum(map(len, splits(data).values())) == 10


@pytest.mark.parametrize("skip", [False, True])
def test_a_good_image_is_not_skipped_because_memory_is_short(
    root: Path, skip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(root, {"a": 5, "b": 5})
    unpack = ImageFile.ImageFile.load

    def short(image: ImageFile.ImageFile) -> object:
        if "b/003" in str(image.filename):
            raise MemoryError
        return unpack(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", short)

    assert refused(root, on_bad_image="skip" if skip else "error") == (
        f"{root}/b/003.png: cannot be decoded (memory is short); free memory, or make the image smaller"
    )


def test_skipped_images_are_counted_and_the_first_are_named(root: Path) -> None:
    make_tree(root, {"a": 9, "b": 9})
    for number in range(5):
        (root / "a" / f"bad{number}.jpg").write_bytes(b"")

    (note,) = load(root, on_bad_image="skip").notes

    assert note.startswith("5 images could not be read and were skipped: a/bad")
    assert note.endswith(" and 2 more")


def test_a_class_of_which_only_bad_images_are_left_is_refused(root: Path) -> None:
    make_tree(root, {"train/a": 2, "val/a": 2, "val/b": 2, "test/a": 2, "test/b": 2})
    (root / "train" / "b").mkdir()
    (root / "train" / "b" / "bad.png").write_bytes(b"")

    assert "no training image is left of the class 'b'" in refused(root, on_bad_image="skip")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        ({}, "has no folder of a class in it"),
        ({"a": 3}, "has only one folder of a class ('a') in it"),
        ({"a": 1, "b": 9}, "the class 'a' has 1 image, too few for every split to have one; give it 3 or more"),
        ({"a": 2, "b": 9}, "the class 'a' has 2 different images, too few"),
        ({"a": 0, "b": 9}, "the class 'a' has no image there"),
        ({"Cat": 3, "cat": 3}, "the classes 'Cat' and 'cat' differ only in case"),
        ({"\u00e9": 3, "e\u0301": 3}, "differ only in case or in how letters are encoded"),
        ({"train/a": 3, "train/b": 1, "test/a": 1}, "train: the class 'b' has 1 image, too few"),
        ({"train/a": 3, "test/a": 3, "test/b": 3}, "train: the class 'b' has no image there"),
        ({"train/a": 3, "train/b": 3, "test/a": 0, "test/b": 0}, "no image is left for test"),
    ],
)
def test_folders_that_cannot_be_split_are_refused(root: Path, folders: dict[str, int], told: str) -> None:
    root.mkdir()
    for folder in folders:
        (root / folder).mkdir(parents=True)
    make_tree(root, folders)

    assert told in refused(root)


def test_a_folder_that_is_not_there_is_refused(root: Path) -> None:
    assert "images: cannot be read as a folder (no such file or directory)" in refused(root)


@pytest.mark.usefixtures("unprivileged")
def test_a_folder_that_may_not_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = make_tree(Path(place) / "images", {"a": 3, "b": 3})
        (root / "b").chmod(0)

        told = refused(root)

        (root / "b").chmod(0o700)
        assert "b: cannot be read as a folder (permission denied)" in told


def test_a_class_without_a_test_image_is_allowed_and_told(root: Path) -> None:
    make_tree(root, {"train/a": 5, "train/b": 5, "test/a": 2})

    assert load(root).notes == ("1 class has no test image: b",)


def test_links_inside_are_followed_and_loops_end(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5, "b/deep": 2, ".elsewhere": 7})
    (root / "a" / "again").symlink_to(root / "a")
    (root / "b" / "deep" / "up").symlink_to(root / "b")
    (root / "b" / "self").symlink_to(root / "b" / "self")
    (root / "a" / "linked.png").symlink_to(root / "b" / "000.png")
    (root / "c").symlink_to(root / ".elsewhere")

    data = load(root)

    assert data.notes[0] == "1 file that is not an image was ignored: b/self"
    assert data.class_names == ("a", "b", "c")
    assert sum(map(len, splits(data).values())) == 6 + 7 + 7


@pytest.mark.parametrize("name", ["secret.png", "folder"])
def test_links_out_of_the_folder_are_refused_or_skipped(root: Path, name: str) -> None:
    outside = make_tree(root.parent / "outside", {"folder": 3})
    save(outside / "secret.png", noise(7))
    make_tree(root, {"a": 5, "b": 5})
    (root / "a" / name).symlink_to(outside / name)

    data = load(root, on_bad_image="skip")

    assert f"a/{name}: is a link out of the dataset's folder; put the file there" in refused(root)
    assert data.notes == (f"1 link out of the folder was skipped: a/{name}",)
    assert sum(map(len, splits(data).values())) == 10


def test_a_link_that_leads_nowhere_is_refused(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5})
    (root / "a" / "x.png").symlink_to(root / "nothing.png")

    assert "a/x.png: is a link that leads nowhere" in refused(root)


def test_a_linked_root_is_as_good_as_a_folder(root: Path) -> None:
    make_tree(root.parent / "real", {"a": 5, "b": 5})
    root.symlink_to(root.parent / "real")

    assert sum(map(len, splits(load(root)).values())) == 10


def test_a_pipe_does_not_hang(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5})
    os.mkfifo(root / "a" / "pipe.png")

    assert load(root).notes == ("1 file that is not an image was ignored: a/pipe.png",)


def test_copies_of_an_image_stay_in_one_split(root: Path) -> None:
    make_tree(root, {"a": 6, "b": 6})
    for original in list(root.rglob("*.png")):
        for number in range(3):
            (original.parent / f"copy{number}-{original.name}").write_bytes(original.read_bytes())

    data = load(root)

    found = [set(rows(split)) for split in splits(data).values()]
    assert not found[0] & found[1]
    assert not (found[0] | found[1]) & found[2]
    assert data.notes == ("36 images are copied from another; copies are in one split",)


def test_copies_in_another_class_are_told(root: Path) -> None:
    make_tree(root, {"a": 5, "b": 5})
    (root / "b" / "x.png").write_bytes((root / "a" / "000.png").read_bytes())

    assert load(root).notes == (
        "1 image is copied from another; copies are in one split",
        "1 image is the same as one of another class",
    )


def test_a_class_of_copies_counts_as_one_image(root: Path) -> None:
    make_tree(root, {"a": 1, "b": 5})
    for number in range(4):
        (root / "a" / f"copy{number}.png").write_bytes((root / "a" / "000.png").read_bytes())

    assert "the class 'a' has 1 image, too few" in refused(root)


def test_images_of_given_splits_that_are_in_train_too_are_told(root: Path) -> None:
    make_tree(root, {f"{part}/{name}": 5 for part in ("train", "val", "test") for name in ("a", "b")})
    taught = sorted((root / "train" / "a").iterdir())
    for number in range(3):
        (root / "test" / "a" / f"leak{number}.png").write_bytes(taught[number].read_bytes())
    (root / "val" / "a" / "leak.png").write_bytes(taught[0].read_bytes())

    assert load(root).notes == ("1 of 11 val images is also in train", "3 of 13 test images are also in train")


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_split_that_is_a_link_astray_is_refused(root: Path, part: str, skip: bool) -> None:
    outside = make_tree(root.parent / "outside", {"a": 5, "b": 5})
    make_tree(root, {f"{name}/{label}": 5 for name in ("train", "test") for label in ("a", "b") if name != part})
    (root / part).symlink_to(outside)
    on_bad_image = "skip" if skip else "error"

    assert f"{part}: is a link out of the dataset's folder" in refused(root, on_bad_image=on_bad_image)
    (root / part).unlink()
    (root / part).symlink_to(root / "nothing")
    assert f"{part}: is a link that leads nowhere" in refused(root, on_bad_image=on_bad_image)


def test_a_split_may_be_a_link_that_stays(root: Path) -> None:
    make_tree(root, {f"{part}/{name}": 5 for part in (".elsewhere", "test") for name in ("a", "b")})
    (root / "train").symlink_to(root / ".elsewhere")

    assert sum(map(len, splits(load(root)).values())) == 20
