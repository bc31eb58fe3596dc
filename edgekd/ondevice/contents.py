"""A bundle's manifest, and whether its files are what the manifest says."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List

from edgekd.ondevice.faults import Fault

FORMAT = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
MOST_BYTES = 4_000_000
"""No manifest is longer."""
_WANTED = {
    "name": str,
    "files": dict,
    "classes": list,
    "input": dict,
    "target": dict,
    "golden": dict,
    "models": list,
    "recommended": str,
    "onnxruntime_min": str,
}


def sealed(body: Dict[str, Any]) -> str:
    """The text of a manifest: its body and, under ``digest``, the SHA-256 of the body's own text."""
    return _canonical({**body, "digest": hashlib.sha256(_canonical(body).encode()).hexdigest()})


def read_manifest(folder: Path) -> Dict[str, Any]:
    """The manifest of a bundle, checked: whole, of a known format, naming only files inside of the bundle.

    Raises:
        Fault: it is not.
    """
    text = _manifest_text(folder)
    try:
        body = json.loads(text)
    # RecursionError: brackets nested without end.
    except (ValueError, RecursionError):
        raise Fault(MANIFEST, "is no JSON: damaged", "take the bundle from where it was made") from None
    if not isinstance(body, dict) or not isinstance(body.get("format"), int):
        raise Fault(MANIFEST, "is no manifest of a bundle", "take the bundle from where it was made")
    # Before the checksum: a newer format may be sealed in another way, and what helps is another remedy.
    if body["format"] > FORMAT:
        raise Fault(MANIFEST, f"has format {body['format']}, newer than {FORMAT}, which is known here", "update edgekd")
    digest = body.pop("digest", None)
    if sealed(body) != text:
        raise Fault(MANIFEST, "was changed: it does not have the checksum that it names", "take the bundle anew")
    _check_body(body)
    return {**body, "digest": digest}


def _check_body(body: Dict[str, Any]) -> None:
    for key, kind in _WANTED.items():
        if not isinstance(body.get(key), kind):
            raise Fault(MANIFEST, f"has no {key}", "take the bundle from where it was made")
    for name, about in body["files"].items():
        _check_entry(name, about)
    for about in body["models"]:
        if not isinstance(about, dict) or about.get("file") not in body["files"]:
            named = about.get("file") if isinstance(about, dict) else about
            raise Fault(MANIFEST, f"names {named!r}, which is none of its files", "do not use this bundle")
    if MODEL not in body["files"] or GOLDEN not in body["files"]:
        raise Fault(MANIFEST, f"names no {MODEL} or no {GOLDEN}", "take the bundle from where it was made")


def file_problems(folder: Path, manifest: Dict[str, Any], everything: bool) -> List[str]:
    """Every file of the bundle that is missing or not what the manifest says, a line each.

    Args:
        folder: the bundle.
        manifest: its manifest.
        everything: unless so, as on a device, what does not go to one may be missing; what is there must be right.
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
    # Through a link the check and ONNX Runtime may read two different files, or one outside of the bundle. A FIFO would
    # block the check for ever.
    if any(part.is_symlink() for part in (path, *path.parents) if folder in part.parents) or not path.is_file():
        return "is no plain file"
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
    """Is it the name of a file below a folder, written plainly? No '..', no root, no drive, no backslash.

    >>> [is_inside(name) for name in ("model.onnx", "../x", "/x", "a//b", "C:x", "a\\\\b", "")]
    [True, False, False, False, False, False, False]
    """
    plain = all(letter.isprintable() and letter not in "\\:" for letter in name)
    return plain and name == str(PurePosixPath(name)) and name[:1] not in ("/", "") and ".." not in name.split("/")


def _check_entry(name: str, about: Any) -> None:
    # No manifest can hold its own checksum.
    if not is_inside(name) or name in (".", MANIFEST):
        raise Fault(MANIFEST, f"names {name!r}, which is no file of the bundle", "do not use this bundle")
    kinds = {"sha256": str, "size_bytes": int, "device": bool}
    if not isinstance(about, dict) or any(not isinstance(about.get(key), kind) for key, kind in kinds.items()):
        raise Fault(MANIFEST, f"says nothing whole about {name}", "take the bundle from where it was made")


def _manifest_text(folder: Path) -> str:
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise Fault(str(folder), f"is no bundle: it has no {MANIFEST}", "name a folder below exports/")
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
        raise Fault(MANIFEST, "is no text: damaged", "take the bundle from where it was made") from None


def _canonical(body: Dict[str, Any]) -> str:
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"
