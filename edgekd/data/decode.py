"""Decodes image files in threads and makes each what is stored."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekd.config.progress import Progress
from edgekd.data.scan import File, Tally
from edgekd.errors import DataError
from edgekd.ondevice.machine import usable_cores
from edgekd.ondevice.pixels import BadImage, Pixels, fit_image, middle_part, quiet, read_image
from edgekd.ondevice.sizes import Size

MOST_THREADS = 8


@dataclass(frozen=True)
class Plan:
    """What is done to every image.

    Args:
        size: of what a model sees.
        train_size: of a stored training image.
        channels: 1 or 3.
        rule: how an image is brought to size.
        skip_bad: leave out what cannot be read.
    """

    size: Size
    train_size: Size
    channels: Literal[1, 3]
    rule: Literal["crop", "stretch"]
    skip_bad: bool


class Reader:
    """Decodes and resizes in threads, a few images ahead of the writer."""

    def __init__(self, root: Path, plan: Plan, total: int, progress: Progress) -> None:
        self._root, self._plan, self._total, self._progress = root, plan, total, progress
        self._done, self._skipped = 0, Tally()
        self._threads = min(usable_cores(), MOST_THREADS)

    def images(self, files: Sequence[File], part: str) -> Iterator[tuple[Pixels, int]]:
        """Pixels and label of every file that can be read."""
        # Threads suffice, because Pillow releases the GIL while it decodes and resizes. They get a few files at a time:
        # pool.map submits everything at once, and would fill memory ahead of the writer.
        with quiet(), ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, len(files), 4 * self._threads):
                some = files[start : start + 4 * self._threads]
                for file, found in zip(some, pool.map(lambda file: self._read(file, part), some), strict=True):
                    if isinstance(found, BadImage):
                        self._refuse_or_skip(file, found)
                    else:
                        yield found, file.label
                self._done += len(some)
                self._progress.work("reading images", self._done, self._total)

    def notes(self) -> list[str]:
        """What was skipped, in a sentence."""
        return self._skipped.note(
            "image could not be read and was skipped", "images could not be read and were skipped"
        )

    def _read(self, file: File, part: str) -> Pixels | BadImage:
        try:
            pixels = read_image(self._root / file.path, self._plan.channels)
            if part == "train" and self._plan.train_size != self._plan.size:
                return middle_part(pixels, self._plan.train_size)
            return fit_image(pixels, self._plan.size, self._plan.rule)
        except BadImage as error:
            return error
        except MemoryError as error:
            # Not skipped: which images are left out would depend on what else runs on this machine.
            problem = f"cannot be decoded ({str(error) or 'memory is short'})"
            raise DataError(str(self._root / file.path), problem, "free memory, or make the image smaller") from None

    def _refuse_or_skip(self, file: File, error: BadImage) -> None:
        if not self._plan.skip_bad:
            problem = f"cannot be read as an image ({error})"
            remedy = "fix or remove it, or set data.on_bad_image: skip"
            raise DataError(str(self._root / file.path), problem, remedy)
        self._skipped.add(file.path)
