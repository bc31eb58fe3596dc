"""What of a bundle goes to a device: its manifest, and the files that the manifest marks for it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.bundle.check import checked, trusted_bytes, trusted_model
from edgekd.bundle.runner import RUNNER
from edgekd.errors import BundleError
from edgekd.ondevice.contents import manifest_text
from edgekd.ondevice.fields import MANIFEST


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
    """Read what a device needs of a bundle: each file once, compared with the manifest that was checked.

    Raises:
        BundleError: the folder is no bundle, is not whole, or changes meanwhile.
        ExportError: a model would make ONNX Runtime open other files.
    """
    manifest = checked(bundle)
    wanted = [name for name, about in manifest["files"].items() if about["device"]]
    if RUNNER not in wanted:
        raise BundleError(str(bundle), f"has no {RUNNER}, so a device cannot run it", "export the bundle again")
    return Payload(
        name=manifest["name"],
        digest=manifest["digest"],
        onnxruntime_min=manifest["onnxruntime_min"],
        isa=manifest["target"]["isa"],
        weight_bits=manifest["target"]["weight_bits"],
        files={
            **{name: _content(bundle, manifest, name) for name in wanted},
            MANIFEST: manifest_text(manifest).encode(),
        },
    )


def _content(bundle: Path, manifest: dict[str, Any], name: str) -> bytes:
    """The bytes to send: those that were checked, whatever lies at their path by the time they are sent."""
    # By its ending, not by the manifest's list of models: ONNX Runtime may be pointed at any ONNX file there.
    return trusted_model(bundle, manifest, name) if name.endswith(".onnx") else trusted_bytes(bundle, manifest, name)


def listed(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    """The files of an order, in the order in which their bytes follow."""
    return [
        {"path": path, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]
