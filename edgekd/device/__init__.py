"""A bundle on a small device: copied over ssh, tested there, switched to in one rename, measured there."""

from edgekd.device.address import Address, parse_address, parse_host
from edgekd.errors import DeviceError

try:
    import asyncssh  # noqa: F401
except ModuleNotFoundError:
    raise DeviceError("device", "asyncssh is not installed here", "pip install 'edgekd[device]'") from None

from edgekd.device.connection import Connection, connect
from edgekd.device.delivery import Deployed, deploy, probe, rollback
from edgekd.device.facts import Facts
from edgekd.device.figures import measure_bundle, measure_files

__all__ = [
    "Address",
    "Connection",
    "Deployed",
    "Facts",
    "connect",
    "deploy",
    "measure_bundle",
    "measure_files",
    "parse_address",
    "parse_host",
    "probe",
    "rollback",
]
