"""What is in a folder of pictures: classes, counts, sizes, copies; pixels are not read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from edgekd.config.progress import Progress
from edgekd.data.duplicates import first_alike
from edgekd.data.scan import NAMED, File, Tally, scan

MOST_OPENED = 400
"""Headers that are read: so many, spread evenly, say enough of sizes and colours."""
TRAIN_SHARE = 0.64
"""Of a folder that edgekd splits."""


@dataclass(frozen=True)
class Seen:
    """A folder of pictures.

    Args:
        root: as it was named.
        classes: pictures of each class.
        train: pictures to learn from, about.
        test: pictures to judge by, about.
        is_split: are there train/ and test/?
        sides: median height and width, pixels.
        grey: have all pictures one channel?
        copies: files that another one is byte for byte.
        ignored: files that are no pictures.
        unreadable: pictures whose header cannot be read, among those that were looked at.
    """

    root: Path
    classes: Mapping[str, int]
    train: int
    test: int
    is_split: bool
    sides: tuple[int, int]
    grey: bool
    copies: int
    ignored: Tally
    unreadable: Tally

    @property
    def pictures(self) -> int:
        return sum(self.classes.values())

    @property
    def imbalance(self) -> float:
        """The most frequent class's pictures for each of the rarest one."""
        return max(self.classes.values()) / max(1, min(self.classes.values()))


def look(root: Path, progress: Progress) -> Seen:
    """Look at a folder.

    Raises:
        DataError: there are no classes, or what ``scan`` refuses.
    """
    found = scan(root.expanduser(), skip_bad=True)
    files = [file for part in found.parts.values() for file in part]
    counts = np.bincount([file.label for file in files], minlength=len(found.class_names))
    unreadable = Tally()
    headers = list(_headers(root.expanduser(), files, unreadable, progress))
    alike = first_alike(root.expanduser(), files, progress)
    is_split = "all" not in found.parts
    train, test = (len(found.parts[part]) if is_split else 0 for part in ("train", "test"))
    return Seen(
        root=root,
        classes=dict(zip(found.class_names, counts.tolist(), strict=True)),
        train=train if is_split else round(TRAIN_SHARE * len(files)),
        test=test if is_split else len(files) // 5,
        is_split=is_split,
        sides=(int(median(size[1] for size, _ in headers)), int(median(size[0] for size, _ in headers)))
        if headers
        else (0, 0),
        grey=bool(headers) and all(mode in ("1", "L", "I;16") for _, mode in headers),
        copies=int((alike != np.arange(len(files))).sum()),
        ignored=found.ignored,
        unreadable=unreadable,
    )


def _headers(root: Path, files: list[File], bad: Tally, progress: Progress) -> Iterator[tuple[tuple[int, int], str]]:
    """Width and height, and mode, of some pictures."""
    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_OPENED)).round().astype(int))
    for done, number in enumerate(chosen.tolist()):
        progress.work("looking at pictures", done, len(chosen))
        try:
            with Image.open(root / files[number].path) as picture:
                yield picture.size, picture.mode
        except (OSError, ValueError, Image.DecompressionBombError):
            bad.add(files[number].path)


def in_words(seen: Seen) -> list[str]:
    """What was seen, a line each."""
    counts = sorted(seen.classes.items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} {count}" for name, count in counts[:6]) + (" ..." if len(counts) > 6 else "")
    split = "as train/ and test/ say" if seen.is_split else "split here: 64 % train, 16 % val, 20 % test"
    lines = [
        f"{seen.pictures:,} pictures of {len(counts)} classes ({named}), {split}",
        f"about {seen.sides[1]} x {seen.sides[0]} pixels (width x height), {'grey' if seen.grey else 'in colour'}",
    ]
    if seen.copies:
        files = "1 file is a copy of another" if seen.copies == 1 else f"{seen.copies:,} files are copies of others"
        lines.append(f"{files}; copies stay in one split")
    lines += seen.ignored.note("file is no picture and is left out", "files are no pictures and are left out")
    lines += seen.unreadable.note("picture cannot be read", "pictures cannot be read")
    few = [name for name, count in seen.classes.items() if count < FEW_OF_A_CLASS]
    if few:
        more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
        lines.append(
            f"few pictures of {', '.join(few[:NAMED])}{more}: below {FEW_OF_A_CLASS} figures of a class say little"
        )
    return lines


FEW_OF_A_CLASS = 20
