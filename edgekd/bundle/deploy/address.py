"""Where a device is: ``ssh://[user@]host[:port]/path``, read strictly."""

import ipaddress
import re
from dataclasses import dataclass

from edgekd.errors import DeviceError

FORM = "ssh://[user@]host[:port]/path"

_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[^@/]*)@)?(?P<host>\[[^\]/]*\]|[^:/@\[\]]*)(?::(?P<port>[^/]*))?(?P<path>/.*)?", re.DOTALL
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""A user or host name; one that began with ``-`` could be taken for an option."""


@dataclass(frozen=True)
class Address:
    """A device, and a folder there.

    Args:
        user: name to log in with; None leaves it to ``~/.ssh/config``, then to the name here.
        host: name, alias of ``~/.ssh/config`` or IP address, without brackets.
        port: None leaves it to ``~/.ssh/config``, then 22.
        path: absolute folder on the device; empty where only the host matters.
    """

    user: str | None
    host: str
    port: int | None
    path: str


def parse_address(text: str) -> Address:
    """The device and folder that a text names.

    >>> parse_address("ssh://pi@raspberry:2222/srv/model")
    Address(user='pi', host='raspberry', port=2222, path='/srv/model')

    Raises:
        DeviceError: the text is no address, or lacks a folder.
    """
    address = _parse(text)
    if address.path in ("", "/"):
        raise DeviceError(text, "names no folder on the device", f"write {FORM}")
    return address


def parse_host(text: str) -> Address:
    """The device that a text without a folder names.

    Raises:
        DeviceError: the text is no address, or names a folder.
    """
    address = _parse(text)
    if address.path:
        raise DeviceError(text, "names a folder where only a device is wanted", "write ssh://[user@]host[:port]")
    return address


def _parse(text: str) -> Address:
    if not text.isprintable():
        raise DeviceError(text, "has a character that cannot be printed", f"write {FORM}")
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise DeviceError(text, "is not a device address", f"write {FORM}")
    return Address(
        _user(text, found["user"]), _host(text, found["host"]), _port(text, found["port"]), _path(text, found)
    )


def _user(text: str, user: str | None) -> str | None:
    if user is None or _NAME.fullmatch(user):
        return user
    if ":" in user:
        # Shown without the password: the line may end up in a log.
        shown = re.sub(r":[^@/]*@", ":...@", text)
        raise DeviceError(shown, "holds a password", "log in with a key; passwords are not used")
    raise DeviceError(text, f"{user!r} is not a user name", f"write {FORM}")


def _host(text: str, host: str) -> str:
    if not host.startswith("["):
        if not _NAME.fullmatch(host):
            raise DeviceError(text, f"{host!r} is not a host name", f"write {FORM}, an IPv6 address in brackets")
        return host
    try:
        return str(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        raise DeviceError(text, f"{host!r} is not an IPv6 address", "write it like ssh://[fe80::1%eth0]/path") from None


def _port(text: str, port: str | None) -> int | None:
    if port is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise DeviceError(text, f"{port!r} is not a port", "give a number from 1 to 65535")
    return int(port)


def _path(text: str, found: re.Match[str]) -> str:
    path = found["path"] or ""
    if ".." in path.split("/"):
        raise DeviceError(text, "has .. in its path", "write the folder's absolute path")
    # No shell expands it on the device: a folder named ~ would be created.
    if path.startswith("/~"):
        raise DeviceError(text, "~ is not known in an address", "write the folder's absolute path")
    return path.rstrip("/") or path[:1]
