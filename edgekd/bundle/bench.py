"""Latency of bundles and files on this machine."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.bundle.check import checked, faults, trusted_model
from edgekd.bundle.untrusted import check_untrusted
from edgekd.config.progress import Progress
from edgekd.errors import BundleError
from edgekd.ondevice.bench import bench
from edgekd.ondevice.contents import MODEL


@contextlib.contextmanager
def named_files(subjects: Sequence[Path]) -> Iterator[list[tuple[str, Path]]]:
    """Private copies of the files to measure, with the names for their figures; deleted on exit.

    Copies, so that the measuring processes open exactly what was checked. A bundle as the only subject
    stands for all of its files in the report's order, among several for its recommended one.

    Raises:
        BundleError: neither a whole bundle nor a file.
        ExportError: an ONNX file that would open others.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = (one for subject in subjects for one in _checked(subject, alone=len(subjects) == 1))
        yield [
            # One folder per file: two bundles both have a model.onnx.
            (name, _copied(content, Path(scratch) / str(index), file))
            for index, (name, file, content) in enumerate(found)
        ]


def _checked(subject: Path, alone: bool) -> Iterator[tuple[str, str, bytes]]:
    """The name for figures, the file's name, and its bytes."""
    if subject.is_dir():
        manifest = checked(subject)
        recommended = [(f"{manifest['name']}/{manifest['recommended']}", MODEL)]
        every = [(about["id"], about["file"]) for about in manifest["models"]]
        for name, file in every if alone else recommended:
            yield name, file, trusted_model(subject, manifest, file)
        return
    if not subject.is_file():
        raise BundleError(str(subject), "is neither a bundle nor a file", "name exports/NAME or an ONNX file")
    yield subject.name, subject.name, check_untrusted(subject)


def _copied(content: bytes, folder: Path, name: str) -> Path:
    folder.mkdir()
    place = folder / Path(name).name
    place.write_bytes(content)
    return place


def bench_here(files: Sequence[tuple[str, Path]], threads: int, batch: int, progress: Progress) -> Mapping[str, Any]:
    """Measure files on this machine: see ``edgekd.ondevice.bench.bench``; each file also has its ``name``.

    Raises:
        BundleError: a file that ONNX Runtime refuses, or more threads than cores.
    """
    with faults(files[0][1]):
        found = bench(
            [path for _, path in files],
            threads,
            batch,
            0,
            lambda done, total: progress.work("interleaved rounds", done, total),
        )
    return with_names(found, [name for name, _ in files])


def with_names(found: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """The same figures, each file under a name."""
    files = [{**about, "name": name} for about, name in zip(found["files"], names, strict=True)]
    return {**found, "files": files}
