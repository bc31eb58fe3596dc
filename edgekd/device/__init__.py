"""A bundle on a small device: copied over ssh, tested there, switched to in one rename, measured there."""

from edgekd.device.address import Address, parse_address, parse_host
from edgekd.errors import DeviceError

try:
    import asyncssh  # noqa: F401
except ModuleNotFoundError:
    raise DeviceError("device", "asyncssh is not installed here", "pip install 'edgekd[device]'") from None

from edgekd.device.connection import Connection, connect
from edgekd.device.delivery import Deployed, bench_on_device, deploy, probe, rollback
from edgekd.device.facts import Facts, isa_warning
from edgekd.device.payload import device_files

__all__ = [
    "Address",
    "Connection",
    "Deployed",
    "Facts",
    "bench_on_device",
    "connect",
    "deploy",
    "device_files",
    "isa_warning",
    "parse_address",
    "parse_host",
    "probe",
    "rollback",
]
