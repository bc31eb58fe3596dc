"""The login: settings of ``~/.ssh/config``, jump hosts, host keys, the user's keys; no passwords."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from edgekd.bundle.deploy.address import Address, parse_host
from edgekd.bundle.deploy.hostkeys import HostKeys, fingerprint, known_name
from edgekd.errors import DeviceError

CONNECT_S = 15
# A dead connection is noticed after 45 s, even while nothing is sent.
KEEPALIVE_S, KEEPALIVES = 15, 3
CLOSE_S = 3
MOST_JUMPS = 8
# The keys that asyncssh tries where the user names none; it has no public name for the list.
DEFAULT_KEYS = ("id_ed25519_sk", "id_ecdsa_sk", "id_ed448", "id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Login:
    """An open connection, the jump hosts behind it, and the fingerprint of a host key that was new."""

    ssh: asyncssh.SSHClientConnection
    through: "Login | None"
    accepted_key: str

    async def close(self) -> None:
        """Disconnect, without waiting long for a device that does not answer."""
        self.ssh.close()
        with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
            await asyncio.wait_for(self.ssh.wait_closed(), CLOSE_S)
        self.ssh.abort()
        if self.through:
            await self.through.close()


@dataclass(frozen=True)
class _Settings:
    """What ``~/.ssh/config`` says of a host."""

    host: str
    port: int
    username: str
    alias: str
    known_hosts: tuple[Path, ...]
    keys: tuple[Path, ...]
    jumps: tuple[str, ...]
    names_algorithms: bool


async def log_in(
    address: Address, *, accept_new_host_key: bool, through: Login | None = None, jumps_left: int = MOST_JUMPS
) -> Login:
    """Connect to a device, through the jump hosts that the user's configuration names.

    Raises:
        DeviceError: unreachable, a host key that is not accepted, or no user key that the device accepts.
    """
    if not jumps_left:
        raise DeviceError(address.host, "ProxyJump in ~/.ssh/config goes in a circle", "correct it")
    settings = _settings(address)
    try:
        for jump in settings.jumps if through is None else ():
            through = await log_in(_jump(jump), accept_new_host_key=False, through=through, jumps_left=jumps_left - 1)
        keys = _host_keys(settings, accept_new=accept_new_host_key)
        remedy = "run again with --accept-new-host-key" if jumps_left == MOST_JUMPS else f"ssh {address.host} once"
        ssh = await _connected(address, settings, keys, through, remedy)
        accepted = keys.save_new()
    # BaseException: after Ctrl-C the connections to jump hosts must be closed as well.
    except BaseException:
        if through:
            await through.close()
        raise
    return Login(ssh, through, fingerprint(accepted) if accepted else "")


def _host_keys(settings: _Settings, *, accept_new: bool) -> HostKeys:
    name = settings.alias or known_name(settings.host, settings.port)
    return HostKeys(settings.known_hosts, name, settings.alias or settings.host.lower(), accept_new=accept_new)


async def _connected(
    address: Address, settings: _Settings, keys: HostKeys, through: Login | None, remedy: str
) -> asyncssh.SSHClientConnection:
    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            return keys.accepts(key)

    try:
        return await asyncssh.connect(
            **_asked(address),
            tunnel=through.ssh if through else None,
            client_factory=Client,
            known_hosts=keys.trusted,
            x509_trusted_certs=None,
            # Empty leaves the choice to HostKeyAlgorithms in ~/.ssh/config.
            server_host_key_algs=() if settings.names_algorithms else keys.algorithms,
            # A GSS key exchange authenticates the host without its host key, which would bypass the check against
            # known_hosts.
            gss_kex=False,
            client_keys=[str(key) for key in settings.keys],
            # No passphrase is asked for: a locked key is skipped, and named in the error if no other key works.
            ignore_encrypted=True,
            password_auth=False,
            kbdint_auth=False,
            # A compromised device could use a forwarded agent to log in elsewhere.
            agent_forwarding=False,
            connect_timeout=CONNECT_S,
            login_timeout=CONNECT_S,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES,
        )
    except asyncssh.HostKeyNotVerifiable:
        raise keys.refusal(address.host, remedy) from None
    except asyncssh.PermissionDenied:
        raise _denied(address, settings) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        raise _unreachable(address, settings, error) from None


def _asked(address: Address) -> dict[str, Any]:
    """The options that the address sets; the rest comes from ``~/.ssh/config``."""
    return {
        "host": address.host,
        **({"port": address.port} if address.port else {}),
        **({"username": address.user} if address.user else {}),
    }


def _settings(address: Address) -> _Settings:
    try:
        found = asyncssh.SSHClientConnectionOptions(**_asked(address), config=(), client_keys=None)
    except (OSError, ValueError, asyncssh.Error) as error:
        raise DeviceError(address.host, f"~/.ssh/config cannot be used: {error}", "correct it") from None
    files = _paths(found.config.get("UserKnownHostsFile")) or (Path.home() / ".ssh/known_hosts",)
    keys = _paths(found.config.get("IdentityFile"))
    return _Settings(
        host=found.host,
        port=found.port,
        username=found.username,
        alias=found.host_key_alias or "",
        known_hosts=files,
        keys=tuple(key for key in keys if key.is_file()),
        jumps=tuple(found.tunnel.split(",")) if isinstance(found.tunnel, str) else (),
        names_algorithms=bool(found.config.get("HostKeyAlgorithms")),
    )


def _paths(setting: object) -> tuple[Path, ...]:
    return tuple(Path(str(path)).expanduser() for path in setting) if isinstance(setting, list | tuple) else ()


def _jump(text: str) -> Address:
    return parse_host(text if text.startswith("ssh://") else f"ssh://{text}")


def _denied(address: Address, settings: _Settings) -> DeviceError:
    default = [Path.home() / ".ssh" / name for name in DEFAULT_KEYS]
    locked = [str(key) for key in settings.keys or default if _is_locked(key)]
    if locked:
        problem = (
            f"it takes none of the keys tried for {settings.username}; {', '.join(locked)} is locked by a passphrase"
        )
        return DeviceError(address.host, problem, f"unlock it with ssh-add {locked[0]}; nothing is asked for here")
    return DeviceError(
        address.host,
        f"it takes none of your keys for {settings.username}",
        "add yours there with ssh-copy-id, or name another with IdentityFile in ~/.ssh/config; passwords are not used",
    )


def _is_locked(key: Path) -> bool:
    try:
        asyncssh.import_private_key(key.read_bytes())
    except OSError:
        return False
    except asyncssh.KeyImportError as error:
        # asyncssh 2.24 raises the same class for locked and for broken keys; only "Passphrase must be specified" in the
        # text tells them apart.
        return "assphrase" in str(error)
    return False


def _unreachable(address: Address, settings: _Settings, error: Exception) -> DeviceError:
    place = f"{settings.host} port {settings.port}"
    if isinstance(error, TimeoutError):
        return DeviceError(address.host, f"{place} did not answer within {CONNECT_S} s", "is it switched on and near?")
    if isinstance(error, ConnectionRefusedError):
        return DeviceError(address.host, f"{place} refuses connections", "is an ssh server running there?")
    if isinstance(error, socket.gaierror):
        return DeviceError(address.host, f"no host named {settings.host} is known", "check the address")
    if isinstance(error, OSError):
        return DeviceError(address.host, f"{place} cannot be reached: {error.strerror or error}")
    return DeviceError(address.host, f"{place}: {error or type(error).__name__}", "is an ssh server running there?")
