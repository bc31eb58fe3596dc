"""A real sshd on the loopback, with throw-away keys, and a home folder for the client."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekd.bundle.deploy import Address
from edgekd.errors import DeviceError

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Sshd:
    """A server that takes one key."""

    port: int
    folder: Path

    @property
    def host_key(self) -> str:
        """Kind and key, as known_hosts writes them."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def known(self) -> str:
        """The server's line of known_hosts."""
        return f"[127.0.0.1]:{self.port} {self.host_key}\n"


@contextlib.contextmanager
def refused(*words: str, where: str = "127.0.0.1") -> Iterator[None]:
    """What happens inside is refused in one line that names the place and holds these words."""
    with pytest.raises(DeviceError) as caught:
        yield
    line = str(caught.value)
    assert line.startswith(f"{where}: ")
    assert len(line.splitlines()) == 1
    assert not [word for word in words if word not in line], line


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own, kept in memory."""
    place.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def write_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    """A new private key; its public half lies beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path], check=True)
    return path


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """The server runs for all tests, and is ended by its own id."""
    if not SSHD or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd on this machine: apt install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = tmp_path_factory.mktemp("sshd")
    write_key(folder / "host_key")
    authority = write_key(folder / "authority")
    sign = f"ssh-keygen -q -s {authority} -I test -h -n 127.0.0.1 {folder}/host_key.pub"
    subprocess.run(sign.split(), check=True)
    shutil.copy(f"{write_key(folder / 'user_key')}.pub", folder / "authorized_keys")
    server = Sshd(_free_port(), folder)
    (folder / "config").write_text(
        f"Port {server.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
        f"HostCertificate {folder}/host_key-cert.pub\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nAllowTcpForwarding yes\nMaxStartups 50\n"
        "SetEnv SHLVL=2\n"  # so that bash does not take this user's .bashrc for a device's
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=log)
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(server: Sshd, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {(server.folder / 'log').read_text().strip()[-300:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("sshd did not start within 5 s")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, without an agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture
def device(sshd: Sshd, home: Path, tmp_path: Path) -> Address:
    """The server as a device that the user knows, and that knows the user; its folder does not exist yet."""
    shutil.copy(sshd.folder / "user_key", home / ".ssh/id_ed25519")
    (home / ".ssh/known_hosts").write_text(sshd.known)
    return Address(getpass.getuser(), "127.0.0.1", sshd.port, str(tmp_path / "srv/model"))


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The device's interpreter, with stand-ins that import quickly for numpy and onnxruntime."""
    return write_python(tmp_path / "python", "-S", numpy='__version__ = "2.4.0"', onnxruntime='__version__ = "1.20.1"')


def write_python(folder: Path, flags: str = "", **modules: str) -> str:
    """An interpreter that finds these modules before all others."""
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    script = folder / "python3"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} {flags} "$@"\n')
    script.chmod(0o755)
    return str(script)
