"""Augmentation of small pictures and of photographs."""

import pytest
import torch
from torch import Tensor

from edgekd.data.augment import BLACK, WHITE, augmentation, crop_flip, photo, shift_rotate_scale


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alike(image: Tensor, count: int) -> Tensor:
    return image.expand(count, *image.shape).contiguous(memory_format=torch.channels_last)


def noisy(channels: int = 3, size: int = 16) -> Tensor:
    return torch.rand(channels, size, size, generator=generator(9)) * (WHITE - BLACK) + BLACK


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """What lies ``down`` and ``right`` of where it was; black comes in."""
    size = image.shape[1]
    wide = torch.full((image.shape[0], 3 * size, 3 * size), BLACK)
    wide[:, size : 2 * size, size : 2 * size] = image
    return wide[:, size + down : 2 * size + down, size + right : 2 * size + right]


def test_small_pictures_are_shifted_and_half_of_them_mirrored_and_nothing_else() -> None:
    image = noisy()
    expected = {
        (down, right, mirrored): shifted(image.flip(2) if mirrored else image, down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
        for mirrored in (False, True)
    }

    results = crop_flip(alike(image, 600), generator())

    found = [next(key for key, wanted in expected.items() if torch.equal(result, wanted)) for result in results]
    assert 250 < sum(mirrored for _, _, mirrored in found) < 350  # 4 deviations of 600 coins are 49
    assert len(set(found)) == 50


def test_small_pictures_repeat_with_their_seed() -> None:
    images = alike(noisy(), 8)

    one, again, other = (crop_flip(images, generator(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_each_side_of_a_wide_picture_is_shifted_by_an_eighth_of_itself() -> None:
    dot = torch.full((1, 16, 64), BLACK)
    dot[:, 8, 32] = WHITE

    places = crop_flip(alike(dot, 900), generator()).flatten(1).argmax(1)

    rows, columns = places // 64, places % 64
    assert set(rows.tolist()) == set(range(6, 11))
    # 31 is where the mirrored dot is.
    assert set(columns.tolist()) == set(range(31 - 8, 32 + 9))


def test_turning_a_wide_picture_does_not_bend_it() -> None:
    """A bar turned by t leans by t: its extent along one side alone would change if angles were those of a square."""
    bar = torch.full((1, 40, 160), BLACK)
    bar[:, 4:36, 79:81] = WHITE

    turned = shift_rotate_scale(alike(bar, 200), generator()) - BLACK

    weights = turned[:, 0] / turned.sum((1, 2, 3), keepdim=True)[:, 0]
    rows, columns = torch.arange(40.0)[:, None], torch.arange(160.0)
    down = rows - (weights * rows).sum((1, 2), keepdim=True)
    right = columns - (weights * columns).sum((1, 2), keepdim=True)
    lean = torch.atan((weights * down * right).sum((1, 2)) / (weights * down**2).sum((1, 2))).rad2deg().abs()
    assert 8 < lean.max() < 10.5


def test_photos_come_out_at_the_wanted_size_and_repeat_with_their_seed() -> None:
    images = alike(noisy(size=21), 8)

    one, again, other = (augmentation("photo", 18)(images, generator(seed)) for seed in (1, 1, 2))

    assert one.shape == (8, 3, 18, 18)
    assert one.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len({tuple(result.flatten().tolist()) for result in one}) == 8


def ramp(size: int, across: bool) -> Tensor:
    """Grey that rises from 0 to 1 along an axis, dark enough that no change of colour is cut off."""
    line = (torch.arange(size) + 0.5) / size
    image = line.expand(size, size) if across else line[:, None].expand(size, size)
    return image.expand(3, size, size)


def seen(image: Tensor, count: int) -> Tensor:
    """Photos' parts with colours left alone: what brightness and contrast did is undone by the picture's own grey."""
    both = torch.stack([image, torch.zeros_like(image)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgekd.data.augment._recoloured", lambda images, _factors: images)
        return photo(alike(both[0], count), generator(), image.shape[1])


def test_a_photo_s_part_has_the_area_and_the_shape_it_should_and_lies_inside() -> None:
    size, count = 64, 500
    across, down = seen(ramp(size, True), count)[:, 0], seen(ramp(size, False), count)[:, 0]

    wide = (across[:, 32, 40] - across[:, 32, 24]).abs() * size / 16
    high = (down[:, 40, 32] - down[:, 24, 32]).abs() * size / 16
    area = wide * high

    assert 0.34 < area.min() < 0.4
    assert 0.9 < area.max() <= 1.001
    assert (wide / high).min() > 0.74
    assert (wide / high).max() < 1.34
    left, right = across[:, 32].min(1).values, across[:, 32].max(1).values
    assert left.min() > 0
    assert right.max() < 1
    assert left.max() > 0.2
    assert right.min() < 0.8


def test_half_of_the_photos_are_mirrored_and_none_stands_on_its_head() -> None:
    across, down = seen(ramp(32, True), 400)[:, 0], seen(ramp(32, False), 400)[:, 0]

    assert 150 < int((across[:, 16, -1] < across[:, 16, 0]).sum()) < 250
    assert (down[:, -1, 16] > down[:, 0, 16]).all()


def test_a_photo_s_colours_change_a_little_and_stay_in_range() -> None:
    plain = torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 8, 8)

    results = photo(alike(plain, 300), generator(), 8).mean((2, 3))

    spread = results.amax(0) - results.amin(0)
    assert (spread > 0.3).all()
    assert (results - plain[:, 0, 0]).abs().max() < 1.2
    assert (results[:, 0] > results[:, 1]).all()
    assert (results[:, 1] > results[:, 2]).all()
    loud = photo(alike(noisy(), 50), generator(), 16)
    assert loud.min() >= BLACK
    assert loud.max() <= WHITE


def test_black_and_grey_stay_without_colour() -> None:
    grey = torch.rand(1, 12, 12, generator=generator()).expand(3, 12, 12)

    results = photo(alike(grey, 20), generator(), 12)

    assert (results - results.mean(1, keepdim=True)).abs().max() < 1e-5


def test_grey_photos_keep_their_one_channel() -> None:
    assert photo(alike(noisy(channels=1), 4), generator(), 14).shape == (4, 1, 14, 14)


def test_every_name_leads_to_images_of_the_dataset_s_size() -> None:
    for name in ("none", "shift_rotate_scale", "crop_flip", "photo"):
        assert augmentation(name, 16)(alike(noisy(), 3), generator()).shape == (3, 3, 16, 16)
