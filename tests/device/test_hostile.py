"""A device answers what it likes: every answer ends in one line without control characters."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.bundle.deploy import Address, connect, deploy, measure_files
from edgekd.bundle.deploy.delivery import bench_on_device
from edgekd.config.progress import Progress
from tests.device.bundles import write_bundle
from tests.device.conftest import refused
from tests.device.test_deploy import NOON

GOOD_PROBE = {
    "step": "done",
    "python": "3.11.2",
    "packages": {name: {"version": "2.4.0", "problem": ""} for name in ("numpy", "onnxruntime")},
    "machine": "x86_64",
    "cpu": "a CPU",
    "flags": ["avx2"],
    "free_bytes": 10**12,
}
VERSION = "20260131T120000Z-0123456789ab"
GOOD_INSTALL: dict[str, Any] = {
    "step": "done",
    "version": VERSION,
    "replaced": None,
    "removed": [],
    "selftest": {"ok": True},
}


def said(**answer: Any) -> str:
    """A shell command that answers."""
    return f"cat <<'END'\nedgekd: {json.dumps(answer)}\nEND\n"


def write_device(folder: Path, *orders: str) -> str:
    """An interpreter that is none: each order is answered by the next of these shell commands."""
    folder.mkdir()
    script = folder / "python3"
    cases = "".join(f"{number}) {order}\n;;\n" for number, order in enumerate(orders))
    script.write_text(
        f"#!/bin/sh\nn=$(cat {folder}/count 2>/dev/null || echo 0)\necho $((n + 1)) > {folder}/count\n"
        f"case $n in\n{cases}esac\n"
    )
    script.chmod(0o755)
    return str(script)


def send(device: Address, python: str, tmp_path: Path) -> str:
    """Deploy to a device that answers like that; the version it says it serves."""
    with connect(device, python=python) as connection:
        return deploy(connection, write_bundle(tmp_path / "bundle"), now=NOON, progress=Progress()).version


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo 'Welcome to \x1b[31mthe board'", ["no answer but 'Welcome to \\\\x1b[31mthe board'"]),
        ("exit 3", ["no answer", "check that python3 runs there"]),
        ("echo 'Segmentation fault' >&2; exit 139", ["python was killed there (signal 11;", "stays in service"]),
        ("exit 250", ["python was killed there (signal 122;"]),
        ("kill -9 $$", ["python was killed there (KILL;", "memory"]),
        ("echo 'sh: python3: not found' >&2; exit 127", ["no python there: sh: python3: not found", "--python PATH"]),
        ("echo 'edgekd: not JSON'", ["its answer is not understood"]),
        ("echo 'edgekd: [1]'", ["its answer is not understood"]),
        ("printf 'edgekd: '; head -c 100000 /dev/zero | tr '\\0' '['; echo", ["its answer is not understood"]),
        ("yes", ["it answers without end"]),
        ("head -c 5000000 /dev/zero", ["it answers without end"]),
        (said(step="error", problem="\x1b]0;owned\x07" + "a" * 9000), ["\\x1b]0;owned\\x07aaa"]),
        (said(step="error", problem=["no", {"text": 1}], remedy=7), ["['no', {'text': 1}]; 7"]),
        (said(step="ready") * 2, ["it says 'ready' twice"]),
        (said(step="done"), ["describes itself in a way that is not understood"]),
        (said(**GOOD_PROBE | {"free_bytes": float("inf")}), ["describes itself in a way that is not understood"]),
        (said(**GOOD_PROBE | {"free_bytes": "plenty"}), ["describes itself in a way that is not understood"]),
        (said(**GOOD_PROBE | {"packages": {"numpy": 3}}), ["describes itself in a way that is not understood"]),
        (said(**GOOD_PROBE | {"free_bytes": 5}), ["0.0 MB free"]),
    ],
)
def test_an_answer_that_is_none_is_one_line(device: Address, tmp_path: Path, command: str, words: list[str]) -> None:
    with refused(*words):
        send(device, write_device(tmp_path / "hostile", command), tmp_path)


@pytest.mark.parametrize(
    "install",
    [
        GOOD_INSTALL | {"version": "../../etc"},
        GOOD_INSTALL | {"version": None},
        GOOD_INSTALL | {"replaced": "\x1b[2J"},
        GOOD_INSTALL | {"removed": ["a"]},
        GOOD_INSTALL | {"removed": VERSION},
        GOOD_INSTALL | {"selftest": "ok"},
    ],
)
def test_a_deploy_that_ends_oddly_is_one_line(device: Address, tmp_path: Path, install: dict[str, Any]) -> None:
    hostile = write_device(tmp_path / "hostile", said(**GOOD_PROBE), said(**install))

    with refused("its answer is not understood", "look there what current names"):
        send(device, hostile, tmp_path)


def test_a_login_shell_that_chatters_does_no_harm(device: Address, tmp_path: Path) -> None:
    chatty = write_device(tmp_path / "chatty", "echo hello\n" + said(**GOOD_PROBE), "echo\n" + said(**GOOD_INSTALL))

    assert send(device, chatty, tmp_path) == VERSION


def test_a_device_that_falls_silent_is_not_waited_for(device: Address, tmp_path: Path) -> None:
    silent = write_device(tmp_path / "silent", "exec sleep 20")

    with connect(device, python=silent) as connection, refused("it went silent", "stays in service"):
        connection.ask({"do": "probe", "path": ""}, wait_s=0.3)


@pytest.mark.parametrize("python", ["-c", "", "python3\nreboot"])
def test_an_interpreter_that_is_none_is_refused(device: Address, python: str) -> None:
    with refused("is not an interpreter", where="--python"), connect(device, python=python):
        pass


def test_an_interpreter_is_one_word_for_the_shell(device: Address, tmp_path: Path) -> None:
    with refused("no python there"):
        send(device, f"/none; touch {tmp_path}/owned", tmp_path)

    assert not (tmp_path / "owned").exists()


def test_a_bench_report_is_bounded_and_harmless(device: Address, tmp_path: Path) -> None:
    evil = {"p50\x1b[2J": 1.5, "many": 10**400, "none": float("nan")}
    hostile = write_device(tmp_path / "hostile", said(step="done", report=evil), said(step="done", report=[1]))
    runner = write_bundle(tmp_path / "bundle") / "edgekd_run.py"

    with connect(device, python=hostile) as connection:
        with refused("its figures are not understood: "):
            measure_files(connection, [("model", runner)], 1, 1, Progress())
        with refused("its bench report is not understood"):
            bench_on_device(connection, {"edgekd_run.py": runner}, [], Progress())
