"""Resized images on disk: found again, rebuilt when damaged, bounded, safe against kills and other processes."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.config.progress import Progress
from edgekd.data import Dataset, load_dataset
from edgekd.data.augment import no_augment
from edgekd.data.cache import SEAL, Cache, default_place
from edgekd.data.stored import StoredImages
from edgekd.data.stored_dataset import read_stored
from edgekd.errors import DataError
from edgekd.store.folder import written_beside
from tests.data.pictures import make_tree, noise, save, settings

KEYS = ["a" * 64, "b" * 64, "c" * 64]


class Told(Progress):
    """Keeps which work was done, and how far."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[int, int]] = {}

    def work(self, label: str, done: int, total: int) -> None:
        self.done[label] = (done, total)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "images", {"a": 6, "b": 6})


def read(root: Path, **further: object) -> tuple[Dataset, bool]:
    """The dataset, and whether images were decoded for it."""
    told = Told()
    data = load_dataset(settings(root, **further), told)
    return data, "reading images" in told.done


def stores(root: Path) -> list[Path]:
    return [path for path in (root.parent / "cache").iterdir() if path.is_dir()]


def test_images_are_decoded_once_with_progress(root: Path) -> None:
    told = Told()

    first = load_dataset(settings(root), told)
    second, decoded = read(root)

    assert told.done == {"comparing images": (12, 12), "reading images": (12, 12)}
    assert not decoded
    assert second.fingerprint() == first.fingerprint()
    assert torch.equal(second.train.images[:], first.train.images[:])
    assert second.notes == first.notes


def test_what_happened_while_reading_is_told_again_later(root: Path) -> None:
    (root / "a" / "bad.png").write_bytes(b"")

    first, second = (read(root, on_bad_image="skip")[0] for _ in range(2))

    assert first.notes[0] == "1 image could not be read and was skipped: a/bad.png"
    assert second.notes == first.notes


@pytest.mark.parametrize(
    "further", [{"image_size": 9}, {"resize": "stretch"}, {"grey": True}, {"augment": "none"}, {"on_bad_image": "skip"}]
)
def test_other_settings_have_a_store_of_their_own(root: Path, further: dict[str, object]) -> None:
    read(root)

    assert read(root, **further)[1]
    assert not read(root)[1]
    assert len(stores(root)) == 2


def test_a_changed_an_added_and_a_removed_image_are_noticed(root: Path) -> None:
    prints = {read(root)[0].fingerprint()}

    save(root / "a" / "000.png", noise(99))
    prints.add(read(root)[0].fingerprint())
    save(root / "a" / "new.png", noise(100))
    prints.add(read(root)[0].fingerprint())
    (root / "a" / "001.png").unlink()
    prints.add(read(root)[0].fingerprint())

    assert len(prints) == 4


def test_the_same_files_elsewhere_are_the_same_dataset(root: Path) -> None:
    first, _ = read(root)
    root.rename(root.parent / "moved")

    second, decoded = read(root.parent / "moved")

    assert not decoded
    assert second.fingerprint() == first.fingerprint()


@pytest.mark.parametrize("name", ["train.pixels", "val.labels.npy", "test.pixels", SEAL])
@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "delete"])
def test_a_damaged_store_is_built_anew(root: Path, name: str, harm: str) -> None:
    first, _ = read(root)
    pixels = first.train.images[:]
    (store,) = stores(root)
    path, content = store / name, bytearray((store / name).read_bytes())

    content[-5] ^= 1
    damaged = {"flip": content, "truncate": content[:-7], "empty": b"", "delete": b""}[harm]
    path.write_bytes(bytes(damaged))
    if harm == "delete":
        path.unlink()
    second, decoded = read(root)

    assert decoded
    assert second.fingerprint() == first.fingerprint()
    assert torch.equal(second.train.images[:], pixels)
    assert not read(root)[1]
    assert len(stores(root)) == 1


def overtaken(function: Callable[..., Any], other: Callable[[], object]) -> Callable[..., Any]:
    """The function; when it is called first, another process is at work just before it returns."""
    waiting = [other]

    def run(*arguments: Any) -> Any:
        found = function(*arguments)
        if waiting:
            waiting.pop()()
        return found

    return run


def test_what_another_process_places_meanwhile_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, "find", overtaken(Cache.find, lambda: read(root)))

    assert not read(root)[1]
    assert len(stores(root)) == 1


def test_what_another_process_repairs_meanwhile_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(root)
    (stores(root)[0] / "val.pixels").write_bytes(b"")
    monkeypatch.setattr("edgekd.data.folder.read_stored", overtaken(read_stored, lambda: read(root)))

    assert not read(root)[1]
    assert len(stores(root)) == 1


def test_images_are_given_though_another_process_needs_their_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def crowded(final: Path, *rest: Any) -> Iterator[Path]:
        """Another process deletes a folder as soon as it is placed."""
        with written_beside(final, *rest) as folder:
            yield folder
        shutil.rmtree(final)

    monkeypatch.setattr("edgekd.data.cache.written_beside", crowded)

    data, _ = read(root)

    assert not stores(root)
    assert data.train.images[:].any()


def test_a_store_whose_words_were_changed_is_built_anew(root: Path) -> None:
    read(root)
    seal = stores(root)[0] / SEAL
    seal.write_text(seal.read_text().replace('"a"', '"z"'))

    data, decoded = read(root)

    assert decoded
    assert data.class_names == ("a", "b")


def test_a_dataset_that_needs_more_than_the_bound_is_refused(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.cache_gb: the resized images need .* more than cache_gb \(1e-06\); rais"
    ):
        read(root, cache_gb=1e-6)

    assert not (root.parent / "cache").exists()


def test_images_in_use_outlive_their_files(root: Path) -> None:
    data, _ = read(root)
    before = data.train.images[:]

    for path in stores(root)[0].iterdir():
        path.unlink()

    assert torch.equal(data.train.images[:], before)


def test_the_default_place_is_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_place() == tmp_path / "edgekd"

    for unset in ("", "relative/path"):  # the standard has relative paths ignored
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert default_place() == Path("/home/somebody/.cache/edgekd")


def test_a_cache_that_cannot_be_written_is_told(root: Path) -> None:
    (root.parent / "file").write_text("in the way")

    with pytest.raises(DataError, match=r"file/cache: cannot be written \(not a directory\); set data.cache"):
        load_dataset(settings(root, cache=str(root.parent / "file" / "cache")))


def fill(cache: Cache, key: str, size: int = 1000) -> None:
    with cache.writing(key, size + 1) as folder:
        (folder / "pixels").write_bytes(b"x" * size)
        (folder / SEAL).write_text("1")


def whole(cache: Cache) -> set[str]:
    return {key for key in KEYS if (cache.root / key).exists()}


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 2500)
    for age, key in ((30, KEYS[0]), (20, KEYS[1])):
        fill(cache, key)
        os.utime(cache.root / key / SEAL, (time.time() - age,) * 2)

    assert cache.find(KEYS[0]) is not None  # which is a use
    fill(cache, KEYS[2])

    assert whole(cache) == {KEYS[0], KEYS[2]}


def test_nothing_goes_while_there_is_room_and_strangers_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3100)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"x" * 9000)
    for key in KEYS:
        fill(cache, key)

    assert whole(cache) == set(KEYS)
    assert (tmp_path / "photos" / "mine.jpg").exists()


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 2500)

    with pytest.raises(DataError, match="cannot be written"), cache.writing(KEYS[0], 10) as folder:
        (folder / "lock").mkdir()

    assert list(tmp_path.iterdir()) == []


def test_what_others_are_writing_counts_and_is_not_touched(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 2500)

    with cache.writing(KEYS[0], 2000) as folder:
        (folder / "pixels").write_bytes(b"x")
        with pytest.raises(DataError, match="other runs are writing as much as it allows"):
            fill(cache, KEYS[1])
        (folder / SEAL).write_text("1")
        assert (folder / "pixels").exists()

    assert whole(cache) == {KEYS[0]}


def test_nothing_goes_for_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, 2500)
    fill(cache, KEYS[0])

    with cache.writing(KEYS[1], 1200) as folder:
        with pytest.raises(DataError, match="other runs are writing"):
            fill(cache, KEYS[2], 2000)
        (folder / SEAL).write_text("1")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DataError, match="the disk has no room"):
        fill(cache, KEYS[2], 2400)

    assert whole(cache) == {KEYS[0], KEYS[1]}


def test_what_would_go_counts_as_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, 2500)
    fill(cache, KEYS[0], 2000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=500))

    fill(cache, KEYS[1], 2000)

    assert whole(cache) == {KEYS[1]}


def test_two_that_end_at_once_both_leave_it(tmp_path: Path) -> None:
    """Each is placed where the other is, under the cache's lock."""
    cache, ready = Cache(tmp_path, 9000), threading.Barrier(2)

    def fill_at_once(_: int) -> None:
        with cache.writing(KEYS[0], 2000) as folder:
            (folder / SEAL).write_text("1")
            ready.wait()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            assert list(pool.map(fill_at_once, range(2))) == [None, None]

    assert [path.name for path in tmp_path.iterdir()] == [KEYS[0]]
    assert [path.name for path in (tmp_path / KEYS[0]).iterdir()] == [SEAL]


def test_a_place_that_cannot_be_written_is_told_with_what_to_do(unprivileged: None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o555)

        with pytest.raises(DataError, match=r"cannot be written \(permission denied\); set data\.cache to a folder"):
            fill(Cache(Path(scratch) / "missing" / "cache", 9000), KEYS[0])


def test_a_folder_of_an_older_cache_is_read(tmp_path: Path) -> None:
    """As it was written before the cache shared its lock and its folders with the model store."""
    folder = tmp_path / KEYS[0]
    folder.mkdir()
    (tmp_path / "lock").touch()
    left = tmp_path / ".writing-abcd"
    left.mkdir()
    (left / "lock").write_text("2000")
    for name, pixels in (("train", b"\0\1"), ("val", b"\0"), ("test", b"\0")):
        (folder / f"{name}.pixels").write_bytes(pixels)
        np.save(folder / f"{name}.labels.npy", np.arange(len(pixels)))
    (folder / SEAL).write_text(
        '{"class_names":["a","b"],"counts":[2,1,1],"image_size":1,"train_size":1,"channels":1,"notes":["a note"],'
        '"fingerprint":"4e8b46795385c063b91644ff1274b7bf7e94b68a80b173e753c736ca7eb96f53",'
        '"seal":"e94eac754fd2fc68d115cb330ab4481fcbee533df54d03aad9af101385e54b17"}'
    )
    cache = Cache(tmp_path, 9000)

    found = cache.find(KEYS[0])
    fill(cache, KEYS[1])

    assert found == folder
    data = read_stored(folder, no_augment)
    assert data is not None
    assert (data.class_names, len(data.train), data.notes) == (("a", "b"), 2, ("a note",))
    assert {path.name for path in tmp_path.iterdir()} == {KEYS[0], KEYS[1]}


def test_two_that_write_the_same_leave_it_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 9000)

    with cache.writing(KEYS[0], 2000) as slow:
        (slow / SEAL).write_text("slow")
        fill(cache, KEYS[0])

    assert (tmp_path / KEYS[0] / SEAL).read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == [KEYS[0]]
    assert [path.name for path in (tmp_path / KEYS[0]).iterdir()] == [SEAL]


@pytest.mark.slow
def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from edgekd.data.cache import Cache\n"
        f"with Cache(Path({str(tmp_path)!r}), 2500).writing('a' * 64, 2000) as folder:\n"
        "    (folder / 'pixels').write_bytes(b'half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.send_signal(signal.SIGKILL)
    cache = Cache(tmp_path, 2500)

    assert cache.find(KEYS[0]) is None
    fill(cache, KEYS[1])

    assert [path.name for path in tmp_path.iterdir()] == [KEYS[1]]


PRINT = """
import sys
from edgekd.data import Folder, load_dataset

print(load_dataset(Folder.model_validate_json(sys.argv[1])).fingerprint())
"""


@pytest.mark.slow
def test_processes_that_start_together_get_the_same(root: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PRINT, settings(root).model_dump_json()]

    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    prints = [process.communicate(timeout=120)[0] for process in started]

    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(set(prints)) == 1
    assert len(prints[0].strip()) == 64
    assert len(stores(root)) == 1


def test_rows_are_read_by_slice_and_by_number(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 3), dtype=np.uint8)
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    every, inner = (StoredImages(tmp_path / "pixels", (7, 6, 6, 3), size) for size in (6, 4))

    assert (len(every), every.shape, inner.shape) == (7, (7, 6, 6, 3), (7, 4, 4, 3))
    for rows in (
        slice(2, 5),
        slice(None),
        slice(5, 99),
        slice(0, 0),
        torch.tensor([6, 0, 0]),
        torch.tensor([], dtype=torch.int64),
    ):
        assert np.array_equal(every[rows].numpy(), pixels[rows if isinstance(rows, slice) else rows.numpy()])
    assert np.array_equal(inner[1:3].numpy(), pixels[1:3, 1:5, 1:5])
    assert np.array_equal(every.middle(4)[:].numpy(), inner[:].numpy())


def test_a_file_that_is_cut_while_in_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(bytes(2 * 12))
    images = StoredImages(tmp_path / "pixels", (2, 2, 2, 3), 2)
    (tmp_path / "pixels").write_bytes(bytes(20))

    assert images[0:1].sum() == 0
    with pytest.raises(DataError, match="became shorter"):
        images[1:2]
