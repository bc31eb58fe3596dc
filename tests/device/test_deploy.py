"""A bundle goes to a real ssh server: what is served there, before and after, and when something goes wrong."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekd.device import Address, Deployed, bench_on_device, connect, deploy, rollback
from edgekd.errors import DeviceError
from edgekd.runtime import Progress
from tests.device.bundles import write_bundle

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def send(device: Address, python: str, bundle: Path, minute: int = 0, keep: int = 3) -> Deployed:
    """Deploy a bundle at that minute past noon."""
    with connect(device, python=python) as connection:
        return deploy(connection, bundle, now=NOON + timedelta(minutes=minute), keep=keep, progress=Progress())


def served(device: Address) -> bytes:
    """The model that the device would load."""
    return (Path(device.path) / "current/model.onnx").read_bytes()


def versions(device: Address) -> list[str]:
    """Everything in the device's folder of versions."""
    return sorted(place.name for place in (Path(device.path) / "versions").iterdir())


def test_a_bundle_is_served_after_its_self_test_passed_there(device: Address, python: str, tmp_path: Path) -> None:
    done = send(device, python, write_bundle(tmp_path / "bundle"))

    assert served(device) == b"first model"
    assert re.fullmatch(r"20260131T120000Z-[0-9a-f]{12}", done.version)
    assert (Path(device.path) / "current").readlink() == Path("versions") / done.version
    assert done.selftest["words"] == ["--selftest", "--json"]
    assert done.replaced is None
    sent = [str(place.relative_to(Path(device.path) / "current")) for place in _files(device)]
    assert sent == [".before", "edgekd_run.py", "labels/labels.txt", "manifest.json", "model.onnx"]


def _files(device: Address) -> list[Path]:
    return sorted(place for place in (Path(device.path) / "current").rglob("*") if place.is_file())
