"""Who is let in, and which devices are believed to be themselves."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.bundle.deploy import Address, connect, login
from tests.device.conftest import Sshd, refused, write_key


def log_in(device: Address, *, accept: bool = False) -> str:
    """Log in and out; the fingerprint of a key that was new."""
    with connect(device, accept_new_host_key=accept) as connection:
        return connection.accepted_key


def test_an_unknown_host_is_shown_with_its_fingerprint_and_not_trusted(device: Address, sshd: Sshd, home: Path) -> None:
    (home / ".ssh/known_hosts").unlink()

    with refused("its host key is unknown: ED25519 SHA256:", "--accept-new-host-key"):
        log_in(device)

    assert not (home / ".ssh/known_hosts").exists()


def test_an_unknown_host_is_added_when_asked_for_and_known_then(device: Address, sshd: Sshd, home: Path) -> None:
    known = home / ".ssh/known_hosts"
    known.unlink()

    assert log_in(device, accept=True).startswith("ED25519 SHA256:")

    assert known.read_text() == sshd.known
    assert known.stat().st_mode & 0o777 == 0o600
    assert log_in(device) == ""
    assert log_in(device, accept=True) == ""
    assert known.read_text() == sshd.known


def test_a_new_key_goes_below_a_line_that_was_not_finished(device: Address, sshd: Sshd, home: Path) -> None:
    known = home / ".ssh/known_hosts"
    known.write_text(f"raspberry {sshd.host_key}")

    log_in(device, accept=True)

    assert known.read_text() == f"raspberry {sshd.host_key}\n{sshd.known}"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("accept", [False, True])
def test_a_changed_host_key_is_never_taken(
    device: Address, home: Path, tmp_path: Path, kind: str, accept: bool
) -> None:
    known = home / ".ssh/known_hosts"
    other = write_key(tmp_path / "other", kind=kind)
    line = f"[127.0.0.1]:{device.port} {other.with_suffix('.pub').read_text()}"
    known.write_text(line)

    with refused("HOST KEY HAS CHANGED", f"ssh-keygen -R '[127.0.0.1]:{device.port}'", f"{kind.upper()} SHA256:"):
        log_in(device, accept=accept)

    assert known.read_text() == line


def test_a_revoked_host_key_is_never_taken(device: Address, sshd: Sshd, home: Path) -> None:
    (home / ".ssh/known_hosts").write_text(f"@revoked * {sshd.host_key}\n")

    with refused("revoked"):
        log_in(device, accept=True)


def test_a_key_known_for_the_host_without_its_port_will_do(device: Address, sshd: Sshd, home: Path) -> None:
    (home / ".ssh/known_hosts").write_text(f"a line that is none\n127.0.0.1 {sshd.host_key}\n")

    assert log_in(device) == ""


def test_a_host_that_is_known_by_its_hash_is_known(device: Address, home: Path, tmp_path: Path) -> None:
    known = home / ".ssh/known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)

    assert known.read_text().startswith("|1|")
    assert log_in(device) == ""


def test_a_host_that_an_authority_vouches_for_is_known(device: Address, sshd: Sshd, home: Path) -> None:
    authority = " ".join((sshd.folder / "authority.pub").read_text().split()[:2])
    (home / ".ssh/known_hosts").write_text(f"@cert-authority *.0.0.1,[127.0.0.1]:* {authority}\n")

    assert log_in(device) == ""


def test_an_authority_for_other_hosts_does_not_vouch_for_this_one(device: Address, sshd: Sshd, home: Path) -> None:
    authority = " ".join((sshd.folder / "authority.pub").read_text().split()[:2])
    (home / ".ssh/known_hosts").write_text(f"@cert-authority *.example {authority}\n")

    with refused("its host key is unknown"):
        log_in(device)


def test_another_key_for_the_host_without_its_port_is_another_server(
    device: Address, sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    other = write_key(tmp_path / "other", kind="ecdsa").with_suffix(".pub").read_text()
    (home / ".ssh/known_hosts").write_text(f"127.0.0.1 {other}")

    with refused("its host key is unknown"):
        log_in(device)


def test_host_keys_are_checked_although_the_configuration_says_none(device: Address, home: Path) -> None:
    (home / ".ssh/known_hosts").unlink()
    (home / ".ssh/config").write_text("UserKnownHostsFile none\nStrictHostKeyChecking no\n")

    with refused("its host key is unknown"):
        log_in(device)


def test_a_key_that_the_device_does_not_take_is_told(device: Address, home: Path) -> None:
    write_key(home / ".ssh/other")
    (home / ".ssh/other").replace(home / ".ssh/id_ed25519")

    with refused(f"takes none of your keys for {getpass.getuser()}", "ssh-copy-id", "passwords are not used"):
        log_in(device)


def test_no_key_at_all_is_told(device: Address, home: Path) -> None:
    (home / ".ssh/id_ed25519").unlink()

    with refused("takes none of your keys"):
        log_in(device)


@pytest.mark.parametrize("named", [False, True])
def test_a_locked_key_is_named_and_nothing_is_asked(device: Address, home: Path, named: bool) -> None:
    (home / ".ssh/id_ed25519").unlink()
    key = write_key(home / ".ssh" / ("mine" if named else "id_ed25519"), passphrase="secret")  # noqa: S106
    if named:
        (home / ".ssh/config").write_text("IdentityFile ~/.ssh/mine\n")

    with refused(f"{key} is locked by a passphrase", f"ssh-add {key}"):
        log_in(device)


def test_the_users_configuration_is_honoured(device: Address, sshd: Sshd, home: Path) -> None:
    (home / ".ssh/id_ed25519").replace(home / ".ssh/mine")
    (home / ".ssh/known_hosts").replace(home / ".ssh/known_elsewhere")
    (home / ".ssh/config").write_text(
        f"Host pi\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {device.user}\n  RemoteCommand false\n"
        "  IdentityFile ~/.ssh/gone\n  IdentityFile ~/.ssh/mine\n  UserKnownHostsFile ~/.ssh/known_elsewhere\n"
    )

    with connect(Address(None, "pi", None, "/srv/model")) as connection:
        answer = connection.ask({"do": "probe", "path": ""})

    assert answer["step"] == "done"


def test_a_configuration_that_cannot_be_read_is_told(device: Address, home: Path) -> None:
    (home / ".ssh/config").write_text("Port twenty\n")

    with refused("~/.ssh/config cannot be used", "twenty"):
        log_in(device)


def test_a_jump_host_is_gone_through_and_checked_too(device: Address, sshd: Sshd, home: Path) -> None:
    (home / ".ssh/config").write_text(
        f"Host pi\n  HostName 127.0.0.1\n  ProxyJump jump\n  HostKeyAlias pi\n"
        f"Host jump\n  HostName 127.0.0.1\n  HostKeyAlias jump\nHost *\n  User {device.user}\n  Port {sshd.port}\n"
    )
    behind = Address(None, "pi", None, "/srv/model")
    (home / ".ssh/known_hosts").write_text(f"pi {sshd.host_key}\n")

    with refused("its host key is unknown", "ssh jump once", where="jump"):
        log_in(behind, accept=True)

    with (home / ".ssh/known_hosts").open("a") as known:
        known.write(f"jump {sshd.host_key}\n")
    assert log_in(behind) == ""


def test_jump_hosts_in_a_circle_are_told(device: Address, home: Path) -> None:
    (home / ".ssh/config").write_text("Host *\nProxyJump jump\n")

    with refused("ProxyJump in ~/.ssh/config goes in a circle", where="jump"):
        log_in(device)


def test_a_port_where_nobody_listens_is_told(device: Address) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        with refused(f"127.0.0.1 port {port} refuses connections"):
            log_in(replace(device, port=port))


def test_a_name_that_is_no_host_is_told(device: Address) -> None:
    with refused("no host named nowhere.invalid is known", where="nowhere.invalid"):
        log_in(replace(device, host="nowhere.invalid"))


def test_a_device_that_does_not_answer_is_not_waited_for_long(device: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "CONNECT_S", 0.3)
    with _answering(b"") as port, refused("did not answer within"):
        log_in(replace(device, port=port))


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n" + bytes(5000), b"\n" * 9000]
)
def test_a_server_of_another_kind_is_told(device: Address, greeting: bytes) -> None:
    with _answering(greeting) as port, refused(f"127.0.0.1 port {port}"):
        log_in(replace(device, port=port))


@contextlib.contextmanager
def _answering(greeting: bytes) -> Iterator[int]:
    """The port of a server that says this, and then nothing."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(greeting)
            done.wait(10 if not greeting else 0.3)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield int(listener.getsockname()[1])
        done.set()
        thread.join()


def test_ctrl_c_ends_the_wait_and_reaches_the_program(device: Address) -> None:
    class PressedError(Exception):
        pass

    def press(_number: int, _frame: object) -> None:
        raise PressedError

    before = signal.signal(signal.SIGINT, press)
    try:
        with _answering(b"") as port:
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(PressedError):
                log_in(replace(device, port=port))
            timer.join()
        assert signal.getsignal(signal.SIGINT) is press
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_agents_key_is_used(device: Address, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("ssh-agent"):
        pytest.skip("no ssh-agent on this machine")
    agent = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
    try:
        while not agent.exists():
            assert process.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        subprocess.run(["ssh-add", "-q", home / ".ssh/id_ed25519"], check=True)
        (home / ".ssh/id_ed25519").unlink()

        assert log_in(device) == ""
    finally:
        process.terminate()
        process.wait(10)
