"""The program for the device, run here without ssh, by the oldest Python that it promises where there is one."""

import ast
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgekd.bundle.deploy.protocol import BOOTSTRAP, program, written
from edgekd.bundle.deploy.remote import MODULES, main, versions
from tests.device.bundles import RUNNER
from tests.devices import oldest_python, runnable

REMOTE = Path(main.__file__).parent


class Device:
    """The program at work on an order."""

    def __init__(self, python: str, **order: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.say(program() + written({"python": python, **order}))

    def say(self, text: bytes) -> None:
        """Send bytes."""
        assert self.process.stdin
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        assert line.startswith("edgekd: "), self.process.communicate()[1].decode()
        answer: dict[str, Any] = json.loads(line.removeprefix("edgekd: "))
        return answer

    def end(self) -> int:
        """Hang up; how the program ended."""
        self.process.communicate(timeout=20)
        return self.process.returncode


def listed(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Files as an order lists them."""
    return [
        {"path": path, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]


def version(minute: int) -> str:
    """A version's name."""
    return f"20260131T12{minute:02}00Z-0123456789ab"


def install(root: Path, minute: int, keep: int = 3, python: str = sys.executable) -> dict[str, Any]:
    """The last answer to an install that goes well until there."""
    files = {"edgekd_run.py": RUNNER.encode(), "model.onnx": str(minute).encode()}
    device = Device(python, do="install", path=str(root), version=version(minute), keep=keep, files=listed(files))
    assert device.answer() == {"step": "ready"}
    device.say(b"".join(files.values()))
    assert device.answer()["step"] == "tested"
    device.say(b"switch\n")
    answer = device.answer()
    device.end()
    return answer


def names(root: Path) -> list[str]:
    """The versions that lie there, and whatever else does."""
    return sorted(place.name for place in (root / "versions").iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The device's folder."""
    return tmp_path / "model"


@pytest.mark.parametrize("name", MODULES)
def test_the_program_is_plain_python_3_9_of_the_standard_library(name: str) -> None:
    tree = ast.parse((REMOTE / f"{name}.py").read_text(), feature_version=(3, 9))

    imported = {
        module.split(".")[0]
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names | {"edgekd"}


def test_every_file_of_the_program_is_sent() -> None:
    assert {place.stem for place in REMOTE.glob("*.py")} == {*MODULES, "__init__"}


@pytest.mark.parametrize("oldest", [False, True])
def test_versions_come_in_and_old_ones_go_but_never_the_one_before(root: Path, oldest: bool) -> None:
    python = oldest_python() if oldest else sys.executable

    for minute in range(4):
        done = install(root, minute, keep=1, python=python)

    assert names(root) == [version(2), version(3)]
    assert done["version"] == version(3)
    assert done["replaced"] == version(2)
    assert done["removed"] == [version(1)]
    assert (root / "current/model.onnx").read_bytes() == b"3"


def test_as_many_versions_stay_as_asked_for(root: Path) -> None:
    for minute in range(4):
        install(root, minute, keep=3)

    assert names(root) == [version(1), version(2), version(3)]


def test_the_version_before_stays_although_it_is_the_oldest(root: Path) -> None:
    for minute in (5, 1, 2):
        install(root, minute, keep=3)
    (root / "current").unlink()
    (root / "current").symlink_to(f"versions/{version(1)}")

    install(root, 6, keep=2)

    assert names(root) == [version(1), version(6)]


@pytest.mark.parametrize(
    "path", ["../evil", "/srv/evil", "a/../../evil", "a//b", "", ".", ".before", "a/.hidden", "a\\b", "a\nb"]
)
@pytest.mark.parametrize("order", ["install", "bench"])
def test_a_path_outside_its_folder_is_refused(root: Path, path: str, order: str) -> None:
    device = Device(
        sys.executable, do=order, path=str(root), version=version(0), keep=3, files=listed({path: b""}), arguments=[]
    )

    assert "is not a path inside a bundle" in device.answer()["problem"]
    assert device.end() == 1
    assert not root.exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([{"path": "a", "size_bytes": -1, "sha256": ""}], "has no size"),
        ([{"path": "a", "size_bytes": True, "sha256": ""}], "has no size"),
        ([{"path": "a"}], "KeyError"),
        (listed({"a": b""}) * 2, "listed twice"),
        (listed({"a": b"", "a/b": b""}), "a"),
        ([{"path": "a", "size_bytes": 0, "sha256": "0" * 64}], "arrived damaged"),
    ],
)
def test_an_order_that_is_wrong_is_refused_and_leaves_nothing(
    root: Path, files: list[dict[str, Any]], words: str
) -> None:
    device = Device(sys.executable, do="install", path=str(root), version=version(0), keep=3, files=files)
    answer = device.answer()
    if answer["step"] == "ready":
        answer = device.answer()

    assert words in answer["problem"]
    assert device.end() == 1
    assert not root.exists() or names(root) == []


@pytest.mark.parametrize("name", ["../../etc", "", "current", version(0) + "x"])
def test_a_version_with_another_name_is_refused(root: Path, name: str) -> None:
    device = Device(sys.executable, do="install", path=str(root), version=name, keep=3, files=[])

    assert "is not a version name" in device.answer()["problem"]
    device.end()


def test_damaged_bytes_are_found(root: Path) -> None:
    install(root, 0)
    device = Device(
        sys.executable, do="install", path=str(root), version=version(1), keep=3, files=listed({"model.onnx": b"good"})
    )
    device.answer()
    device.say(b"evil")

    assert device.answer()["problem"] == "model.onnx arrived damaged"
    device.end()
    assert names(root) == [version(0)]


@pytest.mark.parametrize("sent", [b"", b"mod"])
def test_a_sender_that_hangs_up_leaves_nothing(root: Path, sent: bytes) -> None:
    device = Device(
        sys.executable, do="install", path=str(root), version=version(1), keep=3, files=listed({"model.onnx": b"model"})
    )
    device.answer()
    device.say(sent)

    assert device.end() == 1
    assert names(root) == []


@pytest.mark.parametrize("last_word", [b"", b"stop\n"])
def test_without_the_senders_word_nothing_is_switched(root: Path, last_word: bytes) -> None:
    install(root, 0)
    device = Device(
        sys.executable,
        do="install",
        path=str(root),
        version=version(1),
        keep=3,
        files=listed({"edgekd_run.py": RUNNER.encode()}),
    )
    device.answer()
    device.say(RUNNER.encode())
    device.answer()
    device.say(last_word)

    assert device.end() == 1
    assert names(root) == [version(0)]
    assert (root / "current").readlink() == Path("versions") / version(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_bench_that_is_ended_leaves_nothing(tmp_path: Path, number: int) -> None:
    runner = f"import os, time\nopen({str(tmp_path / 'at')!r}, 'w').write(os.getcwd())\ntime.sleep(60)\n".encode()
    device = Device(sys.executable, do="bench", path="", files=listed({"edgekd_run.py": runner}), arguments=[])
    device.answer()
    device.say(runner)
    while not (tmp_path / "at").exists() or not (tmp_path / "at").read_text():
        time.sleep(0.02)

    os.kill(device.process.pid, number)

    assert device.process.wait(20) == 1
    device.end()
    assert not Path((tmp_path / "at").read_text()).exists()


def test_a_signal_right_after_the_switch_is_the_reason_that_is_given(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "versions" / version(0)).mkdir(parents=True)
    rename = Path.replace

    def interrupted(link: Path, target: Path) -> None:
        rename(link, target)
        raise SystemExit(1)

    monkeypatch.setattr(Path, "replace", interrupted)

    with pytest.raises(SystemExit):
        versions.switch(root, version(0))
    assert versions.served(root) == version(0)
    assert sorted(place.name for place in root.iterdir()) == ["current", "versions"]


def test_a_python_that_is_too_old_says_so() -> None:
    old = runnable("3.8", "3.7", "3.6", "2.7")
    if not old:
        pytest.skip("no Python before 3.9 on this machine")
    done = subprocess.run([old[0], "-c", BOOTSTRAP], capture_output=True, stdin=subprocess.DEVNULL, check=False)

    answer = json.loads(done.stdout.decode().removeprefix("edgekd: "))
    assert "is too old there" in answer["problem"]
    assert "--python" in answer["remedy"]


def test_the_command_of_the_login_shell_is_short_and_one_line() -> None:
    assert len(BOOTSTRAP) < 1000
    assert "\n" not in BOOTSTRAP


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk of the device is full"),
        (OSError(122, "Disk quota exceeded"), "the disk of the device is full"),
        (PermissionError(13, "Permission denied", "/srv"), "/srv cannot be written: Permission denied"),
        (OSError(30, "Read-only file system", "/srv"), "/srv cannot be written: Read-only file system"),
        (OSError(5, "Input/output error"), "its disk: Input/output error"),
        (KeyError("do"), "the program sent to the device failed: KeyError: 'do'"),
    ],
)
def test_every_mishap_is_told_in_the_users_words(error: Exception, words: str) -> None:
    assert main.told(error)[0] == words
