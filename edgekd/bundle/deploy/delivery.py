"""Deploys a bundle to a device, rolls back to the version before, and measures there."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekd.bundle.deploy.connection import Connection
from edgekd.bundle.deploy.facts import Facts, check_space, read_facts
from edgekd.bundle.deploy.payload import Payload, listed, read_payload
from edgekd.bundle.deploy.protocol import shown
from edgekd.bundle.deploy.remote.versions import VERSION
from edgekd.bundle.runner import RUNNER
from edgekd.config.progress import Progress
from edgekd.errors import DeviceError
from edgekd.ondevice.contents import MODEL
from edgekd.ondevice.machine import isa_warning

# Longer than the device allows itself: 90 s (wire.SILENCE_S) for each of two imports.
PROBE_S = 200


@dataclass(frozen=True)
class Deployed:
    """What is served on a device now.

    Args:
        version: name of the version that is served.
        replaced: name of the one served before; None for the first.
        removed: versions that were deleted because of ``keep``.
        selftest: the self-test's report from the device; untrusted.
        facts: the device; None after a rollback, which does not ask.
        warning: what it means that the bundle was made for another CPU; empty if it was not.
        model_sha256: of the ``model.onnx`` that was sent; empty after a rollback, which sends none.
    """

    version: str
    replaced: str | None
    removed: tuple[str, ...]
    selftest: Mapping[str, Any]
    facts: Facts | None
    warning: str
    model_sha256: str


def probe(connection: Connection, onnxruntime_min: str) -> Facts:
    """Ask a device what it is and has.

    Raises:
        DeviceError: it lacks Python 3.9, numpy, or an ONNX Runtime that is new enough.
    """
    answer = connection.ask({"do": "probe", "path": connection.address.path}, wait_s=PROBE_S)
    return read_facts(answer, connection.address.host, connection.python, onnxruntime_min)


def deploy(connection: Connection, bundle: Path, *, now: datetime, keep: int = 3, progress: Progress) -> Deployed:
    """Send a bundle, test it on the device, and make it ``current``.

    Args:
        connection: the device, and the folder there.
        bundle: folder with a manifest.json.
        now: time that the version is named after.
        keep: versions that stay; the one served and the one before it stay in any case.
        progress: informed about every step and the bytes sent.

    Raises:
        DeviceError: something is missing or went wrong; the old version stays in service.
    """
    host, path = connection.address.host, connection.address.path
    payload = read_payload(bundle)
    facts = probe(connection, payload.onnxruntime_min)
    progress.note(f"{host}: {facts.cpu} ({facts.isa}), Python {facts.python}, onnxruntime {facts.onnxruntime}")
    warning = isa_warning(payload.isa, payload.weight_bits, facts.isa)
    if warning:
        progress.note(f"WARNING: {warning}")
    check_space(facts, host, path, payload.size_bytes)
    order = {"do": "install", "path": path, "version": version_name(payload, now), "keep": keep}
    answer = connection.ask({**order, "files": listed(payload.files)}, payload.files, progress)
    return _deployed(answer, host, facts, warning, hashlib.sha256(payload.files[MODEL]).hexdigest())


def rollback(connection: Connection, progress: Progress) -> Deployed:
    """Test the previous version on the device, and make it ``current`` again.

    Raises:
        DeviceError: there is none, or it fails its self-test; the current version stays in service.
    """
    answer = connection.ask({"do": "rollback", "path": connection.address.path}, progress=progress)
    return _deployed(answer, connection.address.host, None, "", "")


def bench_on_device(
    connection: Connection, files: Mapping[str, Path], arguments: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """Measure files on a device, in a folder that is removed afterwards.

    Args:
        connection: the device.
        files: what to send, by name there, ``edgekd_run.py`` among them; of a bundle the copies of ``named_files``.
        arguments: handed to ``edgekd_run.py --bench``.
        progress: informed about the bytes sent.

    Returns:
        The JSON object that ``edgekd_run.py`` wrote there; not to be trusted.

    Raises:
        DeviceError: a file cannot be read, or the device failed.
    """
    if RUNNER not in files:
        raise DeviceError(connection.address.host, f"{RUNNER} is not among the files to measure", "export again")
    content = {name: _content(place) for name, place in files.items()}
    answer = connection.ask({"do": "bench", "files": listed(content), "arguments": [*arguments]}, content, progress)
    report = answer.get("report")
    if not isinstance(report, dict):
        raise DeviceError(connection.address.host, f"its bench report is not understood: {shown(report)}")
    return report


def _content(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError as error:
        raise DeviceError(str(place), f"cannot be read: {error.strerror}", "export again") from None


def version_name(payload: Payload, now: datetime) -> str:
    """A version's name: when it was deployed, in UTC, and the beginning of the bundle's digest."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{payload.digest[:12]}"


def _deployed(answer: Mapping[str, Any], host: str, facts: Facts | None, warning: str, model_sha256: str) -> Deployed:
    version, replaced, selftest = answer.get("version"), answer.get("replaced"), answer.get("selftest")
    removed = answer.get("removed")
    # The device is not trusted, and these names are shown to the user and stored in the report.
    names = [version, *([] if replaced is None else [replaced]), *(removed if isinstance(removed, list) else [None])]
    if not all(isinstance(name, str) and VERSION.fullmatch(name) for name in names) or not isinstance(selftest, dict):
        raise DeviceError(host, f"its answer is not understood: {shown(dict(answer))}", "look there what current names")
    gone = tuple(names[len(names) - len(removed or []) :])
    return Deployed(str(version), replaced, gone, selftest, facts, warning, model_sha256)
