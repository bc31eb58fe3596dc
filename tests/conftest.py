"""What every test shares: the number of threads, and a user without root's rights."""

import os

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is tested is compiled once, not by each program that is started
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded: its waiting threads leave the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the programs that tests start, too: the workers share the cores

import functools
import gc
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from edgekd.store import lock
from tests import brief
from tests.devices import make_bundle, make_python, oldest_python, this_python

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script in the background has it, and its children would
    signal.signal(signal.SIGINT, signal.default_int_handler)

sys.dont_write_bytecode = False  # as for started programs: the tests are not compiled by each run
torch.set_num_threads(1)
"""For fixtures too: results do not depend on the machine's number of cores, which other tests use meanwhile."""


def pytest_collection_finish() -> None:
    """What stays until the end anyway is not looked through for garbage again and again, 5 % of the time."""
    sys.dont_write_bytecode = True  # Python takes a module that a test changes within a second for the compiled one
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Content is no name: a packed file holds the second in which it was made."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 16 else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """How ``pytest -n 2`` shares the tests out."""
    return _FreeUnlessShared(config, log) if config.getoption("dist") == "load" else None


class _FreeUnlessShared(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share a module's fixture run in one worker, for each of its parameters; every other is free to go."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        shared = _module_fixtures(file)
        if not shared:
            return nodeid
        parameters = re.search(r"\[([^\]-]+)", test) if "params=" in shared else None
        return f"{file} {parameters[1]}" if parameters else file


@functools.cache
def _module_fixtures(file: str) -> str:
    """Where a file says of its fixtures that they live as long as the module; empty where it says so nowhere."""
    text = (Path(__file__).parent.parent / file).read_text(encoding="utf-8")
    return " ".join(re.findall(r'fixture\(scope="module".*', text))


@pytest.fixture(scope="session", autouse=True)
def _measures_briefly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        brief.patch(patch.setattr)
        yield


@pytest.fixture
def real_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency is measured as users have it: in processes of their own, each for as long as it takes."""
    for (module, name), value in brief.AS_USERS_HAVE_IT.items():
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def real_plots() -> Iterator[None]:
    """Plots are laid out and drawn as users have them."""
    with brief.plots_as_users_have_them():
        yield


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may read and write everything: for one test it is nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


Once = Callable[[str, Callable[[Path], Path]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """What takes long is made by one worker for all: by name, in a folder of its own, as the given function does it."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent

    def made(name: str, make: Callable[[Path], Path]) -> Path:
        folder, done = common / f"once-{name}", common / f"once-{name}.done"
        with lock.held(common / f"once-{name}.lock", lambda _: None):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                done.write_text(str(make(folder)), encoding="utf-8")
            return Path(done.read_text(encoding="utf-8"))

    return made


@pytest.fixture(scope="session")
def pristine_bundle(once: Once) -> Path:
    """A small bundle, not to be changed."""
    return once("bundle", make_bundle)


@pytest.fixture
def bundle(pristine_bundle: Path, tmp_path: Path) -> Path:
    """A small bundle of one's own."""
    return Path(shutil.copytree(pristine_bundle, tmp_path / "small"))


@pytest.fixture(scope="session")
def newest_device(once: Once) -> Path:
    """A Python that holds numpy and the newest ONNX Runtime."""
    return once("newest", lambda folder: make_python(folder / "venv", this_python(), "numpy", "onnxruntime"))


@pytest.fixture(scope="session")
def oldest_device(once: Once) -> Path:
    """A Python 3.9 that holds numpy, the oldest ONNX Runtime that reads our files, and Pillow."""
    packages = ("numpy<2", "onnxruntime==1.18.*", "Pillow")
    return once("oldest", lambda folder: make_python(folder / "venv", oldest_python(), *packages))


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command line, run in this process, takes signals over: they are given back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
