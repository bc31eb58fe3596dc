"""What of a bundle goes to a device: its manifest, and the files that the manifest marks for it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import DeviceError

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Payload:
    """A bundle in memory, whole and checked.

    Args:
        name, digest: of the bundle.
        onnxruntime_min: oldest ONNX Runtime that runs it.
        isa, weight_bits: what it was made for.
        files: what is sent, by path inside the bundle.
    """

    name: str
    digest: str
    onnxruntime_min: str
    isa: str
    weight_bits: int
    files: Mapping[str, bytes]

    @property
    def size_bytes(self) -> int:
        """Bytes that are sent."""
        return sum(map(len, self.files.values()))


def read_payload(bundle: Path) -> Payload:
    """Read what a device needs of a bundle, and compare it with the manifest.

    Raises:
        DeviceError: the folder is no bundle, or a file is not the one that was exported.
    """
    try:
        raw = (bundle / MANIFEST).read_bytes()
    except OSError:
        raise DeviceError(str(bundle), f"is no bundle: it has no {MANIFEST}", "export one first") from None
    try:
        payload = _read(bundle, json.loads(raw), raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"is not understood: {type(error).__name__}: {error}"
        raise DeviceError(str(bundle / MANIFEST), problem, "export the bundle again") from None
    if "edgekd_run.py" not in payload.files:
        raise DeviceError(str(bundle), "has no edgekd_run.py, so a device cannot run it", "export the bundle again")
    return payload


def device_files(bundle: Path) -> dict[str, Path]:
    """Where the files that a device needs lie, by path inside the bundle.

    Raises:
        DeviceError: the folder is no bundle, or a file is not the one that was exported.
    """
    return {path: bundle / path for path in read_payload(bundle).files}


def _read(bundle: Path, manifest: Mapping[str, Any], raw: bytes) -> Payload:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']!r}, {FORMAT} is known")
    if not re.fullmatch("[0-9a-f]{64}", manifest["digest"]):
        raise ValueError("digest is not 64 hexadecimal digits")
    wanted = {path: entry for path, entry in manifest["files"].items() if entry["device"] and path != MANIFEST}
    return Payload(
        name=str(manifest["name"]),
        digest=manifest["digest"],
        onnxruntime_min=str(manifest["onnxruntime_min"]),
        isa=str(manifest["target"]["isa"]),
        weight_bits=int(manifest["target"]["weight_bits"]),
        files={**{path: _file(bundle, path, entry) for path, entry in wanted.items()}, MANIFEST: raw},
    )


def _file(bundle: Path, path: str, entry: Mapping[str, Any]) -> bytes:
    place = bundle / path
    try:
        inside = place.resolve().is_relative_to(bundle.resolve())
        content = place.read_bytes() if inside else b""
    except OSError as error:
        raise DeviceError(str(place), f"cannot be read: {error.strerror}", "export the bundle again") from None
    if not inside:
        raise DeviceError(str(place), "lies outside the bundle", "export the bundle again")
    if sha256(content) != entry["sha256"] or len(content) != entry["size_bytes"]:
        raise DeviceError(str(place), f"is not the file that {MANIFEST} lists", "export the bundle again")
    return content


def listed(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    """The files of an order, in the order in which their bytes follow."""
    return [{"path": path, "size_bytes": len(content), "sha256": sha256(content)} for path, content in files.items()]


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()
