"""Reads orders and writes answers, one line of JSON each; an order is followed by the bytes of its files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MARK = "edgekd: "
"""Prefix of every answer, so that a login shell's output does no harm."""
CHUNK = 1 << 16
SILENCE_S = 90


class RefusedError(Exception):
    """The order cannot be carried out: the problem, and what to do."""


class GoneError(Exception):
    """The sender is gone."""


def answer(step: str, facts: dict[str, Any]) -> None:
    """Send one line."""
    text = (MARK + json.dumps({"step": step, **facts}) + "\n").encode()
    try:
        while text:
            # os.write may write only a part, to a pipe for instance.
            text = text[os.write(1, text) :]
    except OSError:
        raise GoneError from None


def line() -> bytes:
    """Receive one line."""
    with _patience():
        return sys.stdin.buffer.readline(1 << 20)


def checked(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The listed files, after checking that every path stays inside its folder, even though the sender is edgekd."""
    for file in files:
        hidden = any(part == "" or part.startswith(".") for part in file["path"].split("/"))
        if hidden or "\\" in file["path"] or not file["path"].isprintable():
            raise RefusedError(f"{file['path']!r} is not a path inside a bundle", "")
        if type(file["size_bytes"]) is not int or file["size_bytes"] < 0:
            raise RefusedError(f"{file['path']!r} has no size", "")
    if len({file["path"] for file in files}) != len(files):
        raise RefusedError("a file is listed twice", "")
    return files


def receive(files: list[dict[str, Any]], folder: Path) -> None:
    """Write the files that follow on stdin, and compare the checksums of what is on disk."""
    for file in files:
        path = folder / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            _copy(file["size_bytes"], out)
            _to_disk(out.fileno())
        if _sha256(path) != file["sha256"]:
            raise RefusedError(f"{file['path']} arrived damaged", "deploy again; if it stays so, check the disk there")
    for place, _, _ in os.walk(folder):
        sync_folder(Path(place))


def _copy(left: int, out: BinaryIO) -> None:
    while left:
        with _patience():
            piece = sys.stdin.buffer.read(min(CHUNK, left))
        if not piece:
            raise GoneError
        out.write(piece)
        left -= len(piece)
    out.flush()


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
    # Dropped from the page cache, so that the checksum is of what the disk holds.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Sync a folder, so that its names survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Exit if the sender is silent for too long: the connection is dead."""
    signal.alarm(SILENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
