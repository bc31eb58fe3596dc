"""The program that runs on the device: sent over ssh for every order, never installed there.

Plain Python 3.9 and its standard library. It reads one line of JSON from stdin, the order, then the bytes of the files
that the order lists.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd.bundle.deploy.remote import programs, versions
from edgekd.bundle.deploy.remote.probe import probe
from edgekd.bundle.deploy.remote.wire import GoneError, RefusedError, answer, checked, line, receive


def install(order: dict[str, Any]) -> dict[str, Any]:
    """Receive a version, test it, switch to it, remove the oldest ones."""
    root, name, files = Path(order["path"]), versions.checked_name(order["version"]), checked(order["files"])
    final = _versions_folder(root) / name
    final.parent.mkdir(parents=True, exist_ok=True)
    with versions.locked(root):
        versions.clear_stale(root)
        before = versions.served(root)
        if final.exists():
            raise RefusedError(f"{final} is there already", "deploy again")
        incoming = final.parent / f"{versions.INCOMING}{os.getpid()}"
        try:
            # It gets a version's name only when it is complete and tested: rollback and prune trust every folder that
            # has one.
            incoming.mkdir()
            answer("ready", {})
            receive(files, incoming)
            report = programs.selftest(programs.interpreter(order), incoming, before)
            versions.note_replaced(incoming, before)
            _agree(report)
            incoming.rename(final)
            versions.switch(root, name)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            # The interruption may have come right after the switch: the version that is served must stay.
            if versions.served(root) != name:
                shutil.rmtree(final, ignore_errors=True)
            raise
        removed = versions.prune(root, order["keep"])
    return {"version": name, "replaced": before, "removed": removed, "selftest": report}


def rollback(order: dict[str, Any]) -> dict[str, Any]:
    """Test the version that the one served now replaced, and switch to it."""
    root = Path(order["path"])
    if not _versions_folder(root).is_dir():
        raise RefusedError(f"nothing is deployed in {root}", "deploy a bundle first")
    with versions.locked(root):
        versions.clear_stale(root)
        now = versions.served(root)
        if now is None:
            raise RefusedError(f"nothing is served in {root}", "deploy a bundle first")
        before = versions.replaced_by(root, now)
        if before is None:
            raise RefusedError(
                f"nothing to roll back to: no version from before {now} is kept", "deploy another bundle"
            )
        report = programs.selftest(programs.interpreter(order), root / "versions" / before, now)
        _agree(report)
        versions.switch(root, before)
    return {"version": before, "replaced": now, "removed": [], "selftest": report}


def bench(order: dict[str, Any]) -> dict[str, Any]:
    """Measure files in a folder that is removed afterwards, whatever happens."""
    files = checked(order["files"])
    folder = Path(tempfile.mkdtemp(prefix="edgekd-bench-"))
    try:
        answer("ready", {})
        receive(files, folder)
        return {"report": programs.bench(programs.interpreter(order), folder, order["arguments"])}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


ORDERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "probe": probe,
    "install": install,
    "rollback": rollback,
    "bench": bench,
}


def _versions_folder(root: Path) -> Path:
    folder = root / "versions"
    if folder.is_symlink():
        raise RefusedError(f"{folder} is a link", "deploy to another folder")
    return folder


def _agree(report: dict[str, Any]) -> None:
    """Report that the self-test passed, and wait for the sender's confirmation; raise GoneError without it."""
    answer("tested", {"selftest": report})
    if line() != b"switch\n":
        raise GoneError


def main() -> None:
    """Execute the one order on stdin."""
    # Turned into SystemExit, so that unfinished folders are removed on the way out. sshd sends SIGHUP when the
    # connection closes; the alarm covers a connection that died silently.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _leave)
    try:
        order = json.loads(line())
        answer("done", ORDERS[order["do"]](order))
    except GoneError:
        sys.exit(1)
    except Exception as error:
        problem, remedy = told(error)
        with contextlib.suppress(GoneError):
            answer("error", {"problem": problem, "remedy": remedy})
        sys.exit(1)


def told(error: Exception) -> tuple[str, str]:
    """Problem and remedy of an error, for the user."""
    if isinstance(error, RefusedError):
        return str(error.args[0]), str(error.args[1])
    if not isinstance(error, OSError):
        return f"the program sent to the device failed: {type(error).__name__}: {error}", ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of the device is full", "make room there, or lower --keep"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename} cannot be written: {error.strerror}", "make the folder belong to the user who logs in"
    return f"{error.filename or 'its disk'}: {error.strerror or error}", ""


def _leave(_number: int, _frame: object) -> None:
    sys.exit(1)
