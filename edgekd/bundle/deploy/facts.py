"""A device's CPU, versions and free space, and whether they suffice for a bundle."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.bundle.deploy.protocol import shown
from edgekd.errors import DeviceError
from edgekd.ondevice.machine import isa_of

SPARE_BYTES = 1 << 20
"""Space that must stay free after sending."""


@dataclass(frozen=True)
class Facts:
    """A device's description of itself; its texts are safe to print.

    Args:
        python, onnxruntime: versions.
        cpu: name of the CPU, or of the board.
        isa: instruction set as far as integer multiplication goes; another machine's is its ``machine``.
        free_bytes: free space where the bundle goes.
    """

    python: str
    onnxruntime: str
    cpu: str
    isa: str
    free_bytes: int


def read_facts(answer: Mapping[str, Any], host: str, python: str, onnxruntime_min: str) -> Facts:
    """The facts in a device's answer.

    Raises:
        DeviceError: the answer is not understood; numpy or onnxruntime is missing, broken or too old.
    """
    try:
        packages = {name: _package(answer["packages"][name]) for name in ("numpy", "onnxruntime")}
        # Limited, because the device is not trusted.
        flags = tuple(shown(flag) for flag in list(answer["flags"])[:100])
        facts = Facts(
            python=shown(answer["python"]),
            onnxruntime=packages["onnxruntime"][0],
            cpu=shown(answer["cpu"]),
            isa=isa_of(shown(answer["machine"]), flags),
            free_bytes=int(answer["free_bytes"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DeviceError(host, f"it describes itself in a way that is not understood: {shown(dict(answer))}") from None
    _check_packages(packages, host, python, onnxruntime_min)
    return facts


def _package(found: Mapping[str, Any]) -> tuple[str, str]:
    return shown(found["version"]), shown(found["problem"])


def _check_packages(packages: Mapping[str, tuple[str, str]], host: str, python: str, onnxruntime_min: str) -> None:
    wanted = {"onnxruntime": f"onnxruntime>={onnxruntime_min}", "numpy": "numpy"}
    install = f"{shlex.quote(python)} -m pip install {{}}, or name another interpreter with --python PATH"
    problems = {name: problem for name, (version, problem) in packages.items() if not version}
    missing = [name for name in wanted if "No module named" in problems.get(name, "")]
    if missing:
        command = " ".join(shlex.quote(wanted[name]) for name in missing)
        raise DeviceError(host, f"{' and '.join(missing)} missing there", f"install there: {install.format(command)}")
    for name, problem in problems.items():
        command = "--force-reinstall " + shlex.quote(wanted[name])
        raise DeviceError(host, f"{name} is broken there: {problem}", f"install it anew: {install.format(command)}")
    found = packages["onnxruntime"][0]
    if _numbers(found) < _numbers(onnxruntime_min):
        command = f"--upgrade {shlex.quote(wanted['onnxruntime'])}"
        problem = f"onnxruntime {found} there is older than {onnxruntime_min}, which the bundle needs"
        raise DeviceError(host, problem, f"upgrade it there: {install.format(command)}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version)[:3])


def check_space(facts: Facts, host: str, path: str, needed_bytes: int) -> None:
    """Check the free space before anything is sent.

    Raises:
        DeviceError: the device has too little space.
    """
    if facts.free_bytes < needed_bytes + SPARE_BYTES:
        raise DeviceError(
            host,
            f"{_megabytes(facts.free_bytes)} free at {path}, {_megabytes(needed_bytes + SPARE_BYTES)} needed",
            "make room there, or lower --keep",
        )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
