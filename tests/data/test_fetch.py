"""Images by number: read ahead by a thread, and augmented where they are."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from edgekd.data.augment import augmentation
from edgekd.data.fetch import ahead, fetched
from edgekd.errors import DataError
from tests.tiny import tiny_dataset


def threads() -> int:
    return threading.active_count()


def test_what_is_read_ahead_comes_in_order_and_all_of_it() -> None:
    assert list(ahead(lambda number: number * 2, range(50), 3)) == [*range(0, 100, 2)]
    assert list(ahead(lambda number: number, range(2), 3)) == [0, 1]


def test_a_thread_reads_while_the_caller_works_but_not_further_ahead_than_it_may() -> None:
    made, by = list[int](), set[str]()

    def make(number: int) -> int:
        by.add(threading.current_thread().name)
        made.append(number)
        return number

    values = ahead(make, range(50), 3)
    for taken in range(1, 6):
        next(values)
        until = time.monotonic() + 10
        while len(made) < taken + 3 and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.01)  # in which it might read on
        assert made == [*range(taken + 3)]
    assert threading.current_thread().name not in by


def test_keys_are_asked_for_by_the_caller_alone() -> None:
    """So that whatever they draw is drawn in the order of the caller's own draws."""
    asking = list[threading.Thread]()

    def keys() -> Iterator[int]:
        for number in range(5):
            asking.append(threading.current_thread())
            yield number

    list(ahead(lambda number: number, keys(), 2))

    assert set(asking) == {threading.current_thread()}


def test_an_error_of_the_thread_comes_where_its_value_would_have_come_and_ends_it() -> None:
    def broken(number: int) -> int:
        if number == 3:
            raise DataError("images", "became shorter", "run again")
        return number

    before = threads()
    values = ahead(broken, range(50), 2)

    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="became shorter"):
        next(values)
    assert threads() == before


def test_the_thread_ends_where_the_caller_leaves_early() -> None:
    before, begun = threads(), list[int]()
    values = ahead(lambda number: begun.append(number), range(50), 3)

    next(values)
    assert threads() == before + 1
    values.close()

    assert threads() == before
    assert len(begun) <= 5


def test_on_a_cpu_images_come_as_they_are_kept_without_a_thread() -> None:
    split, before = tiny_dataset().train, threads()

    pixels, labels = next(found := fetched(split.images, split.labels, [torch.tensor([5, 2])], torch.device("cpu")))

    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, split.images[torch.tensor([5, 2])])
    assert labels.tolist() == [2, 2]
    assert threads() == before
    assert list(found) == []


@pytest.mark.parametrize("name", ["none", "shift_rotate_scale", "crop_flip", "photo"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_augmented_on_the_device_that_they_are_on(name: str, channels: int) -> None:
    """Tensors without content, for which torch checks devices nevertheless."""
    with FakeTensorMode():
        images = torch.empty(4, channels, 20, 20, device="cuda")

        found = augmentation(name, 16)(images, torch.Generator())

    assert found.device.type == "cuda"
