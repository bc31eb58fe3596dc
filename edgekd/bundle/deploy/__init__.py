"""Deploys a bundle to a device: copies it over ssh, tests it there, switches to it by one rename, measures it there."""

from edgekd.bundle.deploy.address import Address, parse_address, parse_host
from edgekd.errors import DeviceError

try:
    import asyncssh  # noqa: F401
except ModuleNotFoundError:
    raise DeviceError("device", "asyncssh is not installed here", "pip install 'edgekd[device]'") from None

# Not at the top: these import asyncssh, whose absence is reported above.
from edgekd.bundle.deploy.connection import Connection, connect
from edgekd.bundle.deploy.delivery import Deployed, deploy, probe, rollback
from edgekd.bundle.deploy.facts import Facts
from edgekd.bundle.deploy.figures import measure_bundle, measure_files

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
