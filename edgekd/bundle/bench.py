"""Latency of bundles and files on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.bundle.check import faults, trusted
from edgekd.errors import BundleError
from edgekd.ondevice.bench import bench
from edgekd.ondevice.contents import MODEL
from edgekd.onnx_files import check_untrusted
from edgekd.runtime import Progress


def named_files(subjects: Sequence[Path]) -> list[tuple[str, Path]]:
    """The files that are meant, with the names that figures are shown under.

    A bundle given alone stands for all of its files in the report's order, beside others for the recommended one.

    Raises:
        BundleError: neither a whole bundle nor a file.
        ExportError: an ONNX file that would open others.
    """
    return [named for subject in subjects for named in _named(subject, alone=len(subjects) == 1)]


def _named(subject: Path, alone: bool) -> list[tuple[str, Path]]:
    if subject.is_dir():
        manifest = trusted(subject)
        if alone:
            return [(str(about["id"]), subject / about["file"]) for about in manifest["models"]]
        return [(f"{manifest['name']}/{manifest['recommended']}", subject / MODEL)]
    if not subject.is_file():
        raise BundleError(str(subject), "is neither a bundle nor a file", "name exports/NAME or an ONNX file")
    check_untrusted(subject)
    return [(subject.name, subject)]


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
