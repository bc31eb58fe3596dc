"""Digits, their splits, pixels and augmentation."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from edgekd.data import (
    Dataset,
    DataSettings,
    as_input,
    calibration_batches,
    load_dataset,
    resize,
    shift_rotate_scale,
    train_batches,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DataSettings(image_size=8))


def test_the_splits_hold_every_image_exactly_once(digits: Dataset) -> None:
    raw = load_digits()
    originals = sorted(row.tobytes() for row in (raw.images * (255 / 16)).round().astype(np.uint8))

    parts = [split.images.numpy() for split in (digits.train, digits.val, digits.test)]

    assert [len(part) for part in parts] == [1149, 288, 360]
    assert sorted(row.tobytes() for part in parts for row in part[..., 0]) == originals


def test_every_class_has_the_same_share_in_every_split(digits: Dataset) -> None:
    shares = [
        torch.bincount(split.labels, minlength=10) / len(split) for split in (digits.train, digits.val, digits.test)
    ]

    assert (shares[0] - shares[2]).abs().max() < 0.01
    assert (shares[0] - shares[1]).abs().max() < 0.01


def test_the_fingerprint_is_stable_and_sees_one_pixel(digits: Dataset) -> None:
    again = load_dataset(DataSettings(image_size=8))
    first = again.fingerprint()
    again.val.images[0, 0, 0, 0] += 1

    assert digits.fingerprint() == first
    assert again.fingerprint() != first


def test_a_network_sees_pixels_around_zero_without_a_copy_of_the_layout() -> None:
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 1, 1, 3).expand(2, 4, 4, 3).contiguous()

    found = as_input(images)

    assert found.shape == (2, 3, 4, 4)
    assert found[0, :, 0, 0].tolist() == [-2.0, 0.0, 127 / 64]
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_resizing_is_pillow_s_bilinear_within_a_level() -> None:
    images = torch.randint(0, 256, (2, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    found = resize(images, 32)

    for image, result in zip(images, found, strict=True):
        expected = np.asarray(Image.fromarray(image[..., 0].numpy()).resize((32, 32), Image.Resampling.BILINEAR))
        assert np.abs(result[..., 0].numpy().astype(int) - expected.astype(int)).max() <= 1


def test_augmentation_moves_each_image_a_little_and_repeats_with_its_seed(digits: Dataset) -> None:
    images = as_input(digits.train.images[:16])

    one, again, other = (shift_rotate_scale(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == images.shape
    assert one.min() >= images.min() - 1e-5
    assert one.max() <= images.max() + 1e-5
    away = (one - images).abs().mean((1, 2, 3))
    mirrored = (one - images.flip(3)).abs().mean((1, 2, 3))
    assert (away > 0).all()
    assert (away < mirrored).float().mean() > 0.8  # near-symmetric digits apart


def test_a_pass_over_train_repeats_nothing_and_leaves_out_the_rest(digits: Dataset) -> None:
    plain = load_dataset(DataSettings(image_size=8, augment=False))

    seen = [images for images, _ in train_batches(plain, 64, torch.Generator().manual_seed(0))]

    rows = {tuple(image.ravel().tolist()) for images in seen for image in images}
    train = {tuple(image.ravel().tolist()) for image in as_input(digits.train.images)}
    assert len(seen) == 1149 // 64
    assert len(rows) == 17 * 64
    assert rows <= train


def test_calibration_images_come_from_train(digits: Dataset) -> None:
    train = {tuple(image.ravel().tolist()) for image in as_input(digits.train.images)}

    images = torch.cat(list(calibration_batches(digits, 100)))

    assert len(images) == 100
    assert all(tuple(image.ravel().tolist()) in train for image in images)
