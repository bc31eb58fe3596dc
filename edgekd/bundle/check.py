"""Checks a bundle and runs its model, without torch."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekd.bundle.untrusted import check_untrusted
from edgekd.errors import BundleError, EdgekdError
from edgekd.ondevice.classify import classify
from edgekd.ondevice.contents import GOLDEN, MODEL, file_problems, read_manifest
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.fields import MANIFEST
from edgekd.ondevice.selftest import self_test
from edgekd.store.disk import reading


def checked(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, after checking every file against it.

    Raises:
        BundleError: a file is missing or differs.
    """
    with faults(folder):
        manifest = read_manifest(folder)
        problems = file_problems(folder, manifest, everything=True)
        if problems:
            raise Fault(str(folder), "; ".join(problems), "take the bundle from where it was made")
    return manifest


def trusted_bytes(folder: Path, manifest: dict[str, Any], name: str) -> bytes:
    """A file's content, read once, if it is what the manifest says; for a model ``trusted_model``.

    Raises:
        BundleError: it is not, or cannot be read.
    """
    with reading(folder / name, BundleError, "take the bundle from where it was made"):
        content = (folder / name).read_bytes()
    return _unchanged(content, folder, manifest, name)


def trusted_model(folder: Path, manifest: dict[str, Any], name: str = MODEL) -> bytes:
    """A model's checked bytes for ONNX Runtime: at its path another file may lie by the time it is opened.

    Raises:
        BundleError: the file is not what the manifest says.
        ExportError: it would make ONNX Runtime open files outside the bundle, which checksums do not cover.
    """
    return _unchanged(check_untrusted(folder / name), folder, manifest, name)


def _unchanged(content: bytes, folder: Path, manifest: dict[str, Any], name: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
        raise BundleError(str(folder / name), "was changed while the bundle was read", "run the same command again")
    return content


def verify(folder: Path) -> dict[str, Any]:
    """The self-test on this machine: see ``edgekd.ondevice.selftest.self_test``.

    Raises:
        BundleError: there is no bundle, or its manifest is not to be trusted.
        ExportError: a model of the bundle would make ONNX Runtime open other files.
    """
    with faults(folder):
        return self_test(folder, True, lambda manifest: _every_model_trusted(folder, manifest))


def check_trusted(folder: Path) -> None:
    """Check every file of a bundle, and that no model would make ONNX Runtime open others.

    Raises:
        BundleError: a file is missing or differs.
        ExportError: a model would.
    """
    _every_model_trusted(folder, checked(folder))


def predict(folder: Path, images: Sequence[Path], top: int = 5) -> list[dict[str, Any]]:
    """The likeliest classes of image files: see ``edgekd.ondevice.classify.classify``.

    Raises:
        BundleError: the bundle is damaged, or a file is not an image.
        ExportError: the model would make ONNX Runtime open other files.
    """
    manifest = checked(folder)
    with faults(folder):
        return classify(trusted_model(folder, manifest), manifest, images, top)


def _every_model_trusted(folder: Path, manifest: dict[str, Any]) -> bytes:
    """The bytes of the recommended model, after all models were checked."""
    for about in manifest["models"]:
        trusted_model(folder, manifest, about["file"])
    # model.onnx is checked by name: a crafted manifest need not list it among its models.
    return trusted_model(folder, manifest)


@contextlib.contextmanager
def faults(where: Path) -> Iterator[None]:
    """Re-raise a Fault as a BundleError; ``where`` is the bundle."""
    try:
        yield
    # An EdgekdError is a Fault too, but already names its place.
    except EdgekdError:
        raise
    except Fault as fault:
        inside = fault.where in (MANIFEST, MODEL, GOLDEN)
        place = str(where / fault.where) if inside else fault.where
        raise BundleError(place, fault.problem, fault.remedy) from None
