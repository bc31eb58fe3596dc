"""A bundle's manifest, and whether its files are what the manifest says."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List

from edgekd.ondevice.faults import Fault
from edgekd.ondevice.fields import FROM_ITS_MAKER, MANIFEST, check_fields

FORMAT = 1
MODEL = "model.onnx"
GOLDEN = "golden.npz"
MOST_BYTES = 4_000_000
"""Largest manifest that is read."""


def sealed(body: Dict[str, Any]) -> str:
    """The text of a manifest: its body and, under ``digest``, the SHA-256 of the body's own text."""
    return _canonical({**body, "digest": hashlib.sha256(_canonical(body).encode()).hexdigest()})


def manifest_text(manifest: Dict[str, Any]) -> str:
    """The text that ``read_manifest`` read a manifest from, to the last byte."""
    return sealed({key: value for key, value in manifest.items() if key != "digest"})


def read_manifest(folder: Path) -> Dict[str, Any]:
    """The manifest of a bundle, checked: whole, of a known format, naming only files inside of the bundle.

    Every key that is read anywhere is there and of its type and range, see ``fields``.

    Raises:
        Fault: it is not valid.
    """
    text = _manifest_text(folder)
    try:
        body = json.loads(text)
    # RecursionError: brackets nested thousands deep, as in a hostile file.
    except (ValueError, RecursionError):
        raise Fault(MANIFEST, "is not valid JSON: damaged", FROM_ITS_MAKER) from None
    if not isinstance(body, dict) or type(body.get("format")) is not int or body["format"] < 1:
        raise Fault(MANIFEST, "is not a bundle manifest", FROM_ITS_MAKER)
    # Before the checksum: a newer format may be sealed differently, and then an update helps.
    if body["format"] > FORMAT:
        raise Fault(MANIFEST, f"has format {body['format']}, newer than {FORMAT}, which is known here", "update edgekd")
    digest = body.pop("digest", None)
    if not _is_sealed(body, text):
        raise Fault(MANIFEST, "was changed: its checksum does not match", "copy the bundle again")
    check_fields(body)
    _check_names(body)
    return {**body, "digest": digest}


def _is_sealed(body: Dict[str, Any], text: str) -> bool:
    try:
        return sealed(body) == text
    # What Python reads but JSON has no spelling for: NaN, infinity, and nesting that only the reader can follow.
    except (ValueError, RecursionError):
        return False


def _check_names(body: Dict[str, Any]) -> None:
    for name in body["files"]:
        # A manifest cannot contain its own checksum.
        if not is_inside(name) or name in (".", MANIFEST):
            raise Fault(MANIFEST, f"names {name!r}, which is not a file of the bundle", "do not use this bundle")
    for about in body["models"]:
        if about["file"] not in body["files"]:
            raise Fault(MANIFEST, f"names {about['file']!r}, which is not one of its files", "do not use this bundle")
    if MODEL not in body["files"] or GOLDEN not in body["files"]:
        raise Fault(MANIFEST, f"names no {MODEL} or no {GOLDEN}", FROM_ITS_MAKER)


def file_problems(folder: Path, manifest: Dict[str, Any], everything: bool) -> List[str]:
    """One line for each file that is missing or differs from the manifest.

    Args:
        folder: the bundle.
        manifest: its manifest.
        everything: also require the files that are not for the device; existing files must be intact in any case.
    """
    files = manifest["files"]
    names = {about["sha256"]: name for name, about in files.items()}
    problems = []
    for name, about in sorted(files.items()):
        if everything or about["device"] or os.path.lexists(folder / name):
            problem = _problem(folder, name, about, names)
            problems += [f"{name}: {problem}"] if problem else []
    return problems


def _problem(folder: Path, name: str, about: Dict[str, Any], names: Dict[str, str]) -> str:
    path = folder / name
    if not os.path.lexists(path):
        return "is missing"
    # Through a link the check and ONNX Runtime may read different files, or one outside the bundle. A FIFO would block
    # the check forever.
    if any(part.is_symlink() for part in (path, *path.parents) if folder in part.parents) or not path.is_file():
        return "is not a regular file"
    try:
        size, sha256 = path.stat().st_size, sha256_of(path)
    except OSError as error:
        return f"cannot be read ({(error.strerror or str(error)).lower()})"
    if sha256 == about["sha256"]:
        return ""
    if sha256 in names:
        return f"was swapped: it holds {names[sha256]}"
    if size != about["size_bytes"]:
        kind = "truncated" if size < about["size_bytes"] else "too long"
        return f"is {kind}: {size} bytes, the manifest says {about['size_bytes']}"
    return "was changed: its SHA-256 is not the manifest's"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def is_inside(name: str) -> bool:
    """Is it a plain relative path below a folder? No '..', root, drive or backslash.

    >>> [is_inside(name) for name in ("model.onnx", "../x", "/x", "a//b", "C:x", "a\\\\b", "")]
    [True, False, False, False, False, False, False]
    """
    plain = all(letter.isprintable() and letter not in "\\:" for letter in name)
    return plain and name == str(PurePosixPath(name)) and name[:1] not in ("/", "") and ".." not in name.split("/")


def _manifest_text(folder: Path) -> str:
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise Fault(str(folder), f"is not a bundle: it has no {MANIFEST}", "name a folder below exports/")
    try:
        with path.open("rb") as file:
            # One byte beyond the limit: a file of any size is refused without being read whole.
            read = file.read(MOST_BYTES + 1)
        if len(read) > MOST_BYTES:
            raise Fault(MANIFEST, f"is longer than {MOST_BYTES} bytes", "do not use this bundle")
        return read.decode("utf-8")
    except OSError as error:
        raise Fault(MANIFEST, f"cannot be read ({(error.strerror or str(error)).lower()})") from None
    except UnicodeDecodeError:
        raise Fault(MANIFEST, "is not UTF-8 text: damaged", FROM_ITS_MAKER) from None


def _canonical(body: Dict[str, Any]) -> str:
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"
