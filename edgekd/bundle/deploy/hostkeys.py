"""Checks host keys against ``known_hosts``, as OpenSSH does."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from edgekd.errors import DeviceError

GLOBAL_FILE = "/etc/ssh/ssh_known_hosts"

PREFERRED = (b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"rsa-sha2-512", b"rsa-sha2-256")
"""In OpenSSH's order; dropbear 2022.83 disconnects if RSA comes first and it has no RSA key."""

Trusted = tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]
"""Host keys, keys of certificate authorities, revoked keys."""


class HostKeys:
    """What the ``known_hosts`` files say about one host, and the key that the host presented.

    Args:
        files: the user's files; a new key is added to the first.
        name: of the host and its port in the files; ``HostKeyAlias`` if one is configured.
        host: the same without a port; a key under this name will do as well.
        accept_new: whether the key of an unknown host is taken.
    """

    def __init__(self, files: Sequence[Path], name: str, host: str, *, accept_new: bool) -> None:
        self.files, self.name, self.accept_new = files, name, accept_new
        self.shown: asyncssh.SSHKey | None = None
        known = _read([*files, Path(GLOBAL_FILE)])
        self._exact = _matching(known, name)
        self._any_port = _matching(known, host)

    @property
    def is_known(self) -> bool:
        """Is a key of this host known?"""
        return bool(self._exact[0])

    @property
    def algorithms(self) -> list[str]:
        """Key algorithms to request: those of known keys first, then the others, which reveal a changed key."""
        known = [algorithm for key in self._exact[0] or self._any_port[0] for algorithm in key.sig_algorithms]
        certified = get_default_certificate_algs() if self._exact[1] or self._any_port[1] else []
        wanted = [*certified, *known, *PREFERRED, *get_default_public_key_algs()]
        return [algorithm.decode() for algorithm in dict.fromkeys(wanted)]

    def trusted(self, _host: str, _address: str, _port: int | None) -> Trusted:
        """The keys for asyncssh to trust: those listed under this name, not under the IP address."""
        return self._exact[0], self._exact[1] + self._any_port[1], self._exact[2] + self._any_port[2]

    def accepts(self, key: asyncssh.SSHKey) -> bool:
        """Is a key accepted that is not listed under this name and port?"""
        self.shown = key
        # accept_new is for hosts never seen before: a changed key may be an attack and is never accepted.
        return key in self._any_port[0] or (self.accept_new and not self.is_known)

    def save_new(self) -> asyncssh.SSHKey | None:
        """Add the key that was accepted to the user's file; None where it was known already."""
        if self.shown is None or self.is_known or self.shown in self._any_port[0]:
            return None
        kind, key = self.shown.export_public_key().decode().split()[:2]
        _append(self.files[0], f"{self.name} {kind} {key}")
        return self.shown

    def refusal(self, where: str, remedy: str) -> DeviceError:
        """The error for an unknown, changed or revoked key."""
        if self.shown is None:
            return DeviceError(where, "its host key is revoked or its certificate does not hold", "do not connect")
        if self.is_known:
            return self._changed(where, self.shown)
        check = f"ssh-keygen -lf /etc/ssh/ssh_host_{_kind(self.shown)}_key.pub"
        return DeviceError(
            where,
            f"its host key is unknown: {fingerprint(self.shown)}",
            f"compare it with what {check} says there, then {remedy}",
        )

    def _changed(self, where: str, found: asyncssh.SSHKey) -> DeviceError:
        known = " or ".join(fingerprint(key) for key in self._exact[0])
        option = "" if self.files[0] == Path.home() / ".ssh/known_hosts" else f" -f {self.files[0]}"
        return DeviceError(
            where,
            f"ITS HOST KEY HAS CHANGED TO {fingerprint(found)}, known is {known}: "
            "SOMEBODY MAY STAND BETWEEN YOU AND THE DEVICE",
            f"if you know why it changed, remove the old key with: ssh-keygen -R '{self.name}'{option}",
        )


def known_name(host: str, port: int) -> str:
    """A host and its port as ``known_hosts`` writes them.

    >>> known_name("Raspberry", 22), known_name("raspberry", 2222)
    ('raspberry', '[raspberry]:2222')
    """
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def fingerprint(key: asyncssh.SSHKey) -> str:
    """A key as OpenSSH shows it: kind and SHA-256."""
    return f"{_kind(key).upper()} {key.get_fingerprint()}"


def _kind(key: asyncssh.SSHKey) -> str:
    kind = key.get_algorithm().removeprefix("ssh-")
    return "ecdsa" if kind.startswith("ecdsa") else kind


def _read(files: Sequence[Path]) -> asyncssh.SSHKnownHosts:
    """The entries of the files; unreadable lines are ignored, as by OpenSSH."""
    known = asyncssh.SSHKnownHosts()
    for file in files:
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    known.load(line)
    return known


def _matching(known: asyncssh.SSHKnownHosts, name: str) -> Trusted:
    keys, authorities, revoked = known.match(name, "", None)[:3]
    return list(keys), list(authorities), list(revoked)


def _append(file: Path, line: str) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as out:  # noqa: PTH123
            # Appended to a last line without a line break, the new key would make both keys unreadable.
            unfinished = file.stat().st_size and not file.read_bytes().endswith(b"\n")
            out.write(("\n" if unfinished else "").encode() + line.encode() + b"\n")
    except OSError as error:
        raise DeviceError(str(file), f"the host key cannot be added: {error.strerror}", "make it writable") from None
