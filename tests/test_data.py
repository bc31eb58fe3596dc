"""Digits, their splits, pixels and augmentation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from edgekd.data import (
    Augment,
    Dataset,
    Digits,
    Split,
    as_input,
    batches,
    batches_per_epoch,
    calibration_batches,
    load_dataset,
    shared_batches,
    spread_batches,
    train_batches,
)
from edgekd.data.augment import no_augment, shift_rotate_scale
from edgekd.data.batches import balanced_order
from edgekd.data.splits import resize
from tests.tiny import band_of, tiny_dataset, uneven_dataset

ARROW = torch.tensor([[0, 9, 0, 0], [9, 9, 9, 9], [9, 9, 0, 0], [0, 9, 0, 0]], dtype=torch.uint8)
"""Four by four pixels that neither a mirror nor a turn by half a circle brings back."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(image: Tensor, count: int) -> Tensor:
    """The same image, augmented so many times."""
    alike = image.expand(count, *image.shape).contiguous(memory_format=torch.channels_last)
    return shift_rotate_scale(alike, generator(0))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(Digits(image_size=8))


def test_the_splits_hold_every_image_exactly_once(digits: Dataset) -> None:
    raw = load_digits()
    originals = sorted(row.tobytes() for row in (raw.images * (255 / 16)).round().astype(np.uint8))

    parts = [split.images[:].numpy() for split in (digits.train, digits.val, digits.test)]

    assert [len(part) for part in parts] == [1149, 288, 360]
    assert sorted(row.tobytes() for part in parts for row in part[..., 0]) == originals


def test_every_image_keeps_its_label(digits: Dataset) -> None:
    raw = load_digits()
    pixels = (raw.images * (255 / 16)).round().astype(np.uint8)
    labels = {row.tobytes(): label for row, label in zip(pixels, raw.target, strict=True)}

    for split in (digits.train, digits.val, digits.test):
        expected = [labels[image.tobytes()] for image in split.images[:].numpy()[..., 0]]
        assert split.labels.tolist() == expected


def test_splits_do_not_follow_the_seeds_of_a_run(digits: Dataset) -> None:
    torch.manual_seed(1234)
    np.random.seed(1234)

    assert load_dataset(Digits(image_size=8)).fingerprint() == digits.fingerprint()


def test_every_class_has_the_same_share_in_every_split(digits: Dataset) -> None:
    shares = [
        torch.bincount(split.labels, minlength=10) / len(split) for split in (digits.train, digits.val, digits.test)
    ]

    assert (shares[0] - shares[2]).abs().max() < 0.01
    assert (shares[0] - shares[1]).abs().max() < 0.01


def test_the_fingerprint_is_stable_and_sees_one_pixel(digits: Dataset) -> None:
    again = load_dataset(Digits(image_size=8))
    first = again.fingerprint()
    again.val.images[:][0, 0, 0, 0] += 1  # a slice of a tensor is a view

    assert digits.fingerprint() == first
    assert again.fingerprint() != first


def test_the_fingerprint_sees_one_label_one_name_and_the_split() -> None:
    names, more, label = tiny_dataset(), tiny_dataset(train=49), tiny_dataset()
    object.__setattr__(names, "class_names", ("top", "middle", "foot"))
    label.test.labels[0] = 1

    found = {data.fingerprint() for data in (tiny_dataset(), names, more, label)}

    assert len(found) == 4


def test_a_split_s_fingerprint_sees_its_own_pixels_and_labels_alone() -> None:
    elsewhere, label, pixel = tiny_dataset(), tiny_dataset(), tiny_dataset()
    elsewhere.train.labels[0] = 1
    label.test.labels[0] = 1
    pixel.test.images[:][0, 0, 0, 0] += 1
    first = tiny_dataset().test.fingerprint()

    assert elsewhere.test.fingerprint() == first
    assert label.test.fingerprint() != first
    assert pixel.test.fingerprint() != first


def test_every_pixel_value_becomes_itself_less_128_by_64() -> None:
    every = torch.arange(256).to(torch.uint8).reshape(1, 16, 16, 1)

    found = as_input(every)

    assert found.dtype == torch.float32
    assert found.flatten().tolist() == [(value - 128) / 64 for value in range(256)]


def test_a_network_sees_pixels_around_zero_without_a_copy_of_the_layout() -> None:
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 1, 1, 3).expand(2, 4, 4, 3).contiguous()

    found = as_input(images)

    assert found.shape == (2, 3, 4, 4)
    assert found[0, :, 0, 0].tolist() == [-2.0, 0.0, 127 / 64]
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("shape", "size"), [((8, 8, 1), 32), ((40, 40, 3), 17), ((20, 30, 3), 24)])
def test_resizing_is_pillow_s_bilinear_within_a_level(shape: tuple[int, int, int], size: int) -> None:
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8, generator=generator(0))

    found = resize(images, size)

    assert found.shape == (2, size, size, shape[2])
    for image, result in zip(images.numpy(), found.numpy(), strict=True):
        pillow = Image.fromarray(image.squeeze()).resize((size, size), Image.Resampling.BILINEAR)
        expected = np.asarray(pillow).reshape(result.shape)
        assert np.abs(result.astype(int) - expected.astype(int)).max() <= 1  # both round a sum of their own order


def test_an_image_of_the_wanted_size_is_left_alone() -> None:
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=generator(0))

    assert torch.equal(resize(images, 8), images)


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


def test_augmentation_moves_every_image_of_a_batch_in_its_own_way(digits: Dataset) -> None:
    results = moved(as_input(digits.train.images[:1])[0], 16)

    assert results.dtype == torch.float32
    assert results.is_contiguous(memory_format=torch.channels_last)
    assert len({tuple(result.ravel().tolist()) for result in results}) == 16


def test_augmentation_never_flips() -> None:
    arrow = as_input(resize((ARROW * 25)[None, :, :, None], 32))[0]

    results = moved(arrow, 200)

    def apart(other: Tensor) -> Tensor:
        return (results - other).abs().mean((1, 2, 3))

    assert all((apart(arrow) < apart(arrow.flip(axes))).all() for axes in ([1], [2], [1, 2]))


def test_augmentation_shifts_by_six_hundredths_of_the_image_at_most() -> None:
    """A dot in the centre is moved by the shift alone; scale and turn lengthen or share it out a little."""
    dot = torch.zeros(1, 101, 101)
    dot[:, 49:52, 49:52] = 1.0

    rows, columns = (moved(dot, 300).flatten(1).argmax(1) // 101, moved(dot, 300).flatten(1).argmax(1) % 101)

    away = torch.stack([rows - 50, columns - 50]).abs().max().item()
    assert 4 <= away <= 2**0.5 * 6.06 / 0.9 + 1


def test_a_pass_over_train_repeats_nothing_and_leaves_out_the_rest(digits: Dataset) -> None:
    plain = load_dataset(Digits(image_size=8, augment="none"))

    seen = [images for images, _, _ in train_batches(plain, 64, torch.Generator().manual_seed(0))]

    rows = {tuple(image.ravel().tolist()) for images in seen for image in images}
    train = {tuple(image.ravel().tolist()) for image in as_input(digits.train.images[:])}
    assert len(seen) == 1149 // 64
    assert len(rows) == 17 * 64
    assert rows <= train


def test_calibration_images_come_from_train(digits: Dataset) -> None:
    train = {tuple(image.ravel().tolist()) for image in as_input(digits.train.images[:])}

    images = torch.cat(list(calibration_batches(digits, 100)))

    assert len(images) == 100
    assert all(tuple(image.ravel().tolist()) in train for image in images)


def test_shuffled_images_keep_their_labels_and_each_seed_has_its_order() -> None:
    data = tiny_dataset()

    passes = [list(train_batches(data, 7, generator(seed))) for seed in (1, 1, 2)]

    for images, labels, _ in passes[0]:
        bright = [int(torch.stack([band_of(image[0], k).mean() for k in range(3)]).argmax()) for image in images]
        assert bright == labels.tolist()
    orders = [torch.cat([images for images, _, _ in one]) for one in passes]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_a_batch_larger_than_train_is_the_whole_of_it() -> None:
    data = tiny_dataset(train=9)

    found = [len(labels) for _, labels, _ in train_batches(data, 64, generator(0))]

    assert found == [9]
    assert batches_per_epoch(data, 64) == 1


def test_batches_hold_every_image_once_in_order_and_unchanged() -> None:
    split = tiny_dataset().train

    found = list(batches(split, 20))

    assert [len(labels) for _, labels in found] == [20, 20, 8]
    assert torch.equal(torch.cat([images for images, _ in found]), as_input(split.images[:]))
    assert torch.equal(torch.cat([labels for _, labels in found]), split.labels)


def test_calibration_images_are_spread_over_train_and_never_repeated() -> None:
    data = tiny_dataset()

    some, every = (torch.cat(list(calibration_batches(data, count, 5))) for count in (12, 1000))

    trained, drawn, few = (
        {tuple(image.ravel().tolist()) for image in images} for images in (as_input(data.train.images[:]), every, some)
    )
    assert drawn == trained
    assert len(every) == len(data.train)
    assert few <= trained
    assert len(few) == len(some) == 12


def test_images_spread_over_a_split_that_is_sorted_by_class_show_every_class() -> None:
    split = Split(torch.zeros(300, 8, 8, 1, dtype=torch.uint8), torch.arange(3).repeat_interleave(100))

    parts = [labels for _, labels in spread_batches(split, 30, 8)]

    assert torch.bincount(torch.cat(parts)).tolist() == [10, 10, 10]


def test_each_batch_that_is_spread_over_a_split_shows_every_class() -> None:
    """Ranges that move from batch to batch, and a batch's own variance, would be those of a few classes."""
    split = Split(torch.zeros(300, 8, 8, 1, dtype=torch.uint8), torch.arange(3).repeat_interleave(100))

    parts = [labels.bincount(minlength=3).tolist() for _, labels in spread_batches(split, 30, 8)]

    assert all(sum(part) <= 8 and min(part) >= 2 for part in parts)


UNEVEN = uneven_dataset([40, 3, 5], [2, 2, 2])


def balanced(augment: Augment = no_augment) -> Dataset:
    return replace(UNEVEN, balance=True, augment=augment)


def test_balance_draws_every_class_equally_often_and_the_same_again() -> None:
    orders = [balanced_order(UNEVEN.train.labels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]

    assert [len(order) for order in orders] == [48] * 3
    assert UNEVEN.train.labels[orders[0]].bincount().tolist() == [16] * 3
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_of_a_rare_class_every_image_comes_about_as_often_and_of_a_common_one_none_twice() -> None:
    drawn = balanced_order(UNEVEN.train.labels, torch.Generator().manual_seed(0)).bincount(minlength=48)

    assert drawn[:40].max() == 1
    assert sorted(set(drawn[40:43].tolist())) == [5, 6]
    assert sorted(set(drawn[43:].tolist())) == [3, 4]


def test_what_cannot_be_shared_out_evenly_goes_to_some_classes() -> None:
    labels = torch.tensor([0] * 6 + [1, 2, 2, 2])

    shares = labels[balanced_order(labels, torch.Generator().manual_seed(0))].bincount()

    assert sorted(shares.tolist()) == [3, 3, 4]


def test_a_balanced_pass_has_as_many_batches_and_changes_each_draw_anew() -> None:
    def numbered(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + torch.rand(len(images), 1, 1, 1, generator=generator)

    plain, drawn = (
        list(train_batches(data, 16, torch.Generator().manual_seed(0))) for data in (UNEVEN, balanced(numbered))
    )
    rare = torch.cat([images[labels == 1] for images, labels, _ in drawn])

    assert len(drawn) == len(plain) == batches_per_epoch(UNEVEN, 16)
    assert len(rare) == 16
    assert len({image.sum().item() for image in rare}) == 16


def test_several_processes_share_the_batches_of_a_balanced_pass() -> None:
    whole = list(train_batches(balanced(), 16, torch.Generator().manual_seed(0)))

    parts = [list(shared_batches(balanced(), 16, torch.Generator().manual_seed(0), rank, 2)) for rank in (0, 1)]

    for (_, labels, _), *shares in zip(whole, *parts, strict=True):
        assert sorted(labels.tolist()) == sorted(label for _, part, _ in shares for label in part.tolist())
