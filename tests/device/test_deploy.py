"""A bundle goes to a real ssh server: what is served there, before and after, and when something goes wrong."""

import fcntl
import importlib.metadata
import json
import os
import platform
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekd.bundle.deploy import Address, Deployed, connect, deploy, login, probe, rollback
from edgekd.bundle.deploy.delivery import bench_on_device
from edgekd.config.progress import Progress
from edgekd.errors import BundleError, ExportError
from edgekd.ondevice.machine import host_isa
from tests.device.bundles import content_of, model_of, write_bundle
from tests.device.conftest import Sshd, refused, small_disk, write_python
from tests.device.proxy import cutting_proxy

pytestmark = pytest.mark.slow

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
KILL_IN_REPLACE = """
import os, signal
real = os.replace
def replace(source, target, **more):
    if os.path.exists({marker!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, target, **more)
os.replace = replace
"""


def send(device: Address, python: str, bundle: Path, minute: int = 0) -> Deployed:
    """Deploy a bundle at that minute past noon."""
    with connect(device, python=python) as connection:
        return deploy(connection, bundle, now=NOON + timedelta(minutes=minute), progress=Progress())


def go_back(device: Address, python: str) -> Deployed:
    """Roll the device back."""
    with connect(device, python=python) as connection:
        return rollback(connection, Progress())


def served(device: Address) -> bytes:
    """The model that the device would load."""
    return content_of((Path(device.path) / "current/model.onnx").read_bytes())


def names(device: Address) -> list[str]:
    """Everything that lies around on the device, but for the lock."""
    root = Path(device.path)
    return sorted(place.name for place in [*root.iterdir(), *(root / "versions").iterdir()] if place.name != ".lock")


@pytest.fixture
def serving(device: Address, python: str, tmp_path: Path) -> list[str]:
    """The device serves the first model; the names that lie there then."""
    send(device, python, write_bundle(tmp_path / "first"))
    return names(device)


def test_a_bundle_is_served_after_its_self_test_passed_there(device: Address, python: str, tmp_path: Path) -> None:
    done = send(device, python, write_bundle(tmp_path / "bundle"))

    assert served(device) == b"first model"
    assert re.fullmatch(r"20260131T120000Z-[0-9a-f]{12}", done.version)
    current = Path(device.path) / "current"
    assert current.readlink() == Path("versions") / done.version
    assert done.selftest["words"] == ["--selftest", "--json"]
    assert done.replaced is None
    sent = sorted(str(place.relative_to(current)) for place in current.rglob("*") if place.is_file())
    assert sent == [
        ".before",
        "edgekd_run.py",
        "golden.npz",
        "labels/labels.txt",
        "manifest.json",
        "model.onnx",
    ]
    assert names(device) == [done.version, "current", "versions"]


def test_a_second_deploy_takes_over_and_a_rollback_gives_back(
    device: Address, python: str, tmp_path: Path, serving: list[str]
) -> None:
    second = send(device, python, write_bundle(tmp_path / "second", b"second model"), 1)

    assert (served(device), second.replaced) == (b"second model", serving[0])
    back = go_back(device, python)
    assert (served(device), back.version, back.replaced) == (b"first model", serving[0], second.version)
    with refused("nothing to roll back to"):
        go_back(device, python)
    assert served(device) == b"first model"


def test_a_rollback_returns_to_what_was_served_not_to_what_is_newest(
    device: Address, python: str, tmp_path: Path, serving: list[str]
) -> None:
    send(device, python, write_bundle(tmp_path / "bad", b"bad model"), 1)
    go_back(device, python)
    send(device, python, write_bundle(tmp_path / "third", b"third model"), 2)

    go_back(device, python)

    assert served(device) == b"first model"


def test_a_version_that_fails_its_self_test_is_not_served(
    device: Address, python: str, tmp_path: Path, serving: list[str]
) -> None:
    bad = write_bundle(tmp_path / "bad", b"bad model", broken=b"\x1b[2Jkernel missing")

    with refused("the self-test failed there", "the top-1 of 3 images differs", "kernel missing", "goes on serving"):
        send(device, python, bad, 1)

    assert served(device) == b"first model"
    assert names(device) == serving


def test_a_first_version_that_fails_leaves_nothing_served(device: Address, python: str, tmp_path: Path) -> None:
    with refused("the self-test failed there", "nothing is served"):
        send(device, python, write_bundle(tmp_path / "bad", broken=b"no"))

    assert names(device) == ["versions"]
    with refused("nothing is served", "deploy a bundle first"):
        go_back(device, python)


def test_a_version_before_that_fails_its_self_test_is_not_gone_back_to(
    device: Address, python: str, tmp_path: Path, serving: list[str]
) -> None:
    send(device, python, write_bundle(tmp_path / "second", b"second model"), 1)
    (Path(device.path) / "versions" / serving[0] / "broken.txt").write_text("worn out")

    with refused("the self-test failed there", "worn out", "goes on serving"):
        go_back(device, python)

    assert served(device) == b"second model"


def test_nothing_deployed_is_nothing_to_go_back_from(device: Address, python: str) -> None:
    with refused("nothing is deployed in"):
        go_back(device, python)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_users_own_current_is_left_alone(device: Address, python: str, tmp_path: Path, is_link: bool) -> None:
    current = Path(device.path) / "current"
    current.parent.mkdir(parents=True)
    (tmp_path / "own").mkdir()
    current.symlink_to(tmp_path / "own") if is_link else current.mkdir()

    with refused("current was not made by a deploy", "move it away"):
        send(device, python, write_bundle(tmp_path / "bundle"))

    assert current.is_symlink() is is_link
    assert not list((Path(device.path) / "versions").iterdir())


def test_a_link_in_place_of_the_versions_is_refused(device: Address, python: str, tmp_path: Path) -> None:
    Path(device.path).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (Path(device.path) / "versions").symlink_to(tmp_path / "elsewhere")

    with refused("versions is a link"):
        send(device, python, write_bundle(tmp_path / "bundle"))

    assert not list((tmp_path / "elsewhere").iterdir())


def test_two_deploys_at_once_do_not_mix(device: Address, python: str, tmp_path: Path, serving: list[str]) -> None:
    left = Path(device.path) / "versions/.incoming-1"
    left.mkdir()
    with (Path(device.path) / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with refused("another deploy", "is under way", "wait"):
            send(device, python, write_bundle(tmp_path / "second", b"second model"), 1)

        assert left.exists()
    assert served(device) == b"first model"


def test_what_killed_deploys_left_is_cleared(device: Address, python: str, tmp_path: Path, serving: list[str]) -> None:
    (Path(device.path) / "versions/.incoming-1").mkdir()
    (Path(device.path) / "versions/.incoming-1/model.onnx").write_bytes(b"half")
    (Path(device.path) / ".current-1").symlink_to("versions/gone")

    done = send(device, python, write_bundle(tmp_path / "second", b"second model"), 1)

    assert names(device) == [serving[0], done.version, "current", "versions"]


def test_a_connection_cut_in_mid_transfer_leaves_the_old_version_serving(
    device: Address, python: str, tmp_path: Path, serving: list[str], home: Path, sshd: Sshd
) -> None:
    large = write_bundle(tmp_path / "large", os.urandom(3_000_000))

    with (
        cutting_proxy(device.port, after_bytes=1_000_000) as port,
        refused("the connection was cut", "stays in service"),
    ):
        with (home / ".ssh/known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {sshd.host_key}\n")
        send(replace(device, port=port), python, large, 1)

    assert served(device) == b"first model"
    assert send(device, python, large, 2).replaced == serving[0]


def test_a_connection_cut_during_the_self_test_switches_nothing(
    device: Address, python: str, tmp_path: Path, serving: list[str], home: Path, sshd: Sshd
) -> None:
    began = tmp_path / "began"
    slow = write_bundle(tmp_path / "slow", b"slow model", slow=str(began).encode())

    with cutting_proxy(device.port, when=began.exists) as port, refused("the connection was cut", "stays in service"):
        with (home / ".ssh/known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {sshd.host_key}\n")
        send(replace(device, port=port), python, slow, 1)

    done = send(device, python, write_bundle(tmp_path / "second", b"second model"), 2)
    assert names(device) == [serving[0], done.version, "current", "versions"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)


def test_a_link_that_went_dead_is_noticed(
    device: Address,
    python: str,
    tmp_path: Path,
    serving: list[str],
    home: Path,
    sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = tmp_path / "began"
    slow = write_bundle(tmp_path / "slow", b"slow model", slow=str(began).encode())
    monkeypatch.setattr(login, "KEEPALIVE_S", 1.0)

    with (
        cutting_proxy(device.port, when=began.exists, silent=True) as port,
        refused("the connection was cut", "stays in service"),
    ):
        with (home / ".ssh/known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {sshd.host_key}\n")
        send(replace(device, port=port), python, slow, 1)

    assert served(device) == b"first model"


def test_a_kill_in_mid_switch_leaves_the_old_version_serving(
    device: Address, python: str, tmp_path: Path, serving: list[str]
) -> None:
    marker = tmp_path / "kill"
    fragile = write_python(
        tmp_path / "fragile",
        numpy='__version__ = "2.4.0"',
        onnxruntime='__version__ = "1.20.1"',
        sitecustomize=KILL_IN_REPLACE.format(marker=str(marker)),
    )
    second = write_bundle(tmp_path / "second", b"second model")
    marker.touch()

    with refused("python was killed there (KILL", "while it switched", "names the old version or the new"):
        send(device, fragile, second, 1)

    assert served(device) == b"first model"
    marker.unlink()
    done = send(device, fragile, second, 2)
    assert served(device) == b"second model"
    assert done.replaced == serving[0]
    assert not [name for name in names(device) if name.startswith(".")]


def test_too_little_space_is_told_before_anything_is_sent(device: Address, python: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m") as disk:
        with refused("2.1 MB free at", "4.1 MB needed", "make room there"):
            send(replace(device, path=f"{disk}/a/model"), python, write_bundle(tmp_path / "big", bytes(3_000_000)))

        assert not list(disk.iterdir())


def test_a_disk_that_fills_up_leaves_the_old_version_serving(device: Address, python: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=100m,nr_inodes=18") as disk:
        place = replace(device, path=str(disk / "model"))
        send(place, python, write_bundle(tmp_path / "first"))
        before = names(place)

        with refused("the disk of the device is full", "make room there"):
            send(place, python, write_bundle(tmp_path / "second", os.urandom(2_000_000), a=b"a", b=b"b", c=b"c"), 1)

        assert served(place) == b"first model"
        assert names(place) == before


def test_a_folder_that_cannot_be_written_is_named(device: Address, python: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o555)
        with refused(f"{tmp_path}/locked/model cannot be written", "belong to the user"):
            send(replace(device, path=f"{tmp_path}/locked/model"), python, bundle)
        return
    with small_disk(tmp_path / "disk", "size=100m,ro") as disk, refused(f"{disk}/model", "cannot be written"):
        send(replace(device, path=f"{disk}/model"), python, bundle)


def test_a_file_in_place_of_a_folder_is_named(device: Address, python: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with refused(f"{tmp_path}/file"):
        send(replace(device, path=f"{tmp_path}/file/model"), python, write_bundle(tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({}, ["onnxruntime and numpy missing there", "-m pip install 'onnxruntime>=1.18' numpy", "--python PATH"]),
        ({"numpy": '__version__ = "2.4.0"'}, ["onnxruntime missing", "python3 -m pip install 'onnxruntime>=1.18',"]),
        (
            {"numpy": '__version__ = "2"', "onnxruntime": 'raise ImportError("libgomp\x1b.so")'},
            ["onnxruntime is broken there: ImportError: libgomp\\x1b.so", "--force-reinstall 'onnxruntime>=1.18'"],
        ),
        (
            {"numpy": '__version__ = "2"', "onnxruntime": "import os\nos.kill(os.getpid(), 4)"},
            ["onnxruntime is broken there: its import ended with -4"],
        ),
        (
            {"numpy": '__version__ = "2"', "onnxruntime": '__version__ = "1.9.0"'},
            ["onnxruntime 1.9.0 there is older than 1.18", "pip install --upgrade 'onnxruntime>=1.18'"],
        ),
    ],
)
def test_what_the_device_lacks_is_told_with_the_command_that_installs_it(
    device: Address, tmp_path: Path, modules: dict[str, str], words: list[str]
) -> None:
    poor = write_python(tmp_path / "poor", "-S", **modules)

    with refused(*words):
        send(device, poor, write_bundle(tmp_path / "bundle"))

    assert not Path(device.path).exists()


def test_what_the_device_has_is_found(device: Address) -> None:
    with connect(device, python=sys.executable) as connection:
        facts = probe(connection, "1.18")

    assert facts.python == platform.python_version()
    assert facts.onnxruntime == importlib.metadata.version("onnxruntime")
    assert facts.isa == host_isa()
    assert facts.free_bytes > 0


def test_a_changed_file_is_found_before_the_device_is_asked(device: Address, python: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(model_of(b"other model"))

    with pytest.raises(BundleError, match=r"model\.onnx: was changed"):
        send(device, python, bundle)


def test_a_model_whose_weights_lie_elsewhere_is_not_sent(device: Address, python: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", elsewhere=b"/etc/passwd")

    with pytest.raises(ExportError, match=r"keeps the weight 'weight' in another file \('/etc/passwd'\)"):
        send(device, python, bundle)

    assert not (Path(device.path) / "current").exists()


def test_a_bundle_for_another_cpu_is_deployed_with_a_warning(device: Address, python: str, tmp_path: Path) -> None:
    done = send(device, python, write_bundle(tmp_path / "bundle", isa="armv9-none", bits=7))

    assert done.facts is not None
    assert f"made for armv9-none with 7-bit weights, but this CPU is {done.facts.isa}" in done.warning


def test_the_bench_runs_there_and_leaves_nothing(device: Address, python: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    files = {"edgekd_run.py": bundle / "edgekd_run.py", "teacher.onnx": bundle / "report.html"}

    with connect(device, python=python) as connection:
        report = bench_on_device(connection, files, ["--threads", "2"], Progress())

    assert report["arguments"] == ["--bench", "--threads", "2", "--json"]
    assert report["files"] == ["edgekd_run.py", "teacher.onnx"]
    assert not Path(report["folder"]).exists()


def test_a_bench_that_fails_leaves_nothing(device: Address, python: str, tmp_path: Path) -> None:
    runner = tmp_path / "edgekd_run.py"
    told = tmp_path / "folder"
    runner.write_text(f"import os\nopen({str(told)!r}, 'w').write(os.getcwd())\nraise SystemExit('no such model')\n")

    with connect(device, python=python) as connection, refused("the bench failed there: no such model"):
        bench_on_device(connection, {"edgekd_run.py": runner}, [], Progress())

    assert not Path(told.read_text()).exists()


def test_every_byte_sent_is_told(device: Address, python: str, tmp_path: Path) -> None:
    class Heard(Progress):
        def __init__(self) -> None:
            self.work_done: list[tuple[str, int, int]] = []

        def work(self, label: str, done: int, total: int) -> None:
            self.work_done.append((label, done, total))

    heard = Heard()
    bundle = write_bundle(tmp_path / "bundle", bytes(200_000))
    with connect(device, python=python) as connection:
        deploy(connection, bundle, now=NOON, progress=heard)

    sizes = [entry["size_bytes"] for entry in json.loads((bundle / "manifest.json").read_text())["files"].values()]
    total = sum(sizes) - len("<html>") + (bundle / "manifest.json").stat().st_size
    assert heard.work_done[-1] == ("bytes sent", total, total)
    assert len(heard.work_done) > 4
