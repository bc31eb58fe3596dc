"""The protocol: the program and an order go to the device; answers are parsed without trusting them."""

import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from edgekd.bundle.deploy.remote import MODULES
from edgekd.bundle.deploy.remote.wire import MARK
from edgekd.errors import DeviceError, printable

BOOTSTRAP = (
    "import sys,json,types;sys.version_info<(3,9) and sys.exit(sys.stdout.write("
    f'"{MARK}"+json.dumps(dict(step="error",problem="Python "+sys.version.split()[0]+" is too old there",'
    'remedy="use one from 3.9 on; --python names another"))+"\\n"));'
    "exec(json.loads(sys.stdin.buffer.readline()))"
)
"""The whole command for the login shell: short, because small ssh servers limit its length."""

# edgekd is not installed on the device: the modules are registered under their full names, so that they can import each
# other.
_LOADER = """
import types
for name, text in MODULES:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
    package = sys.modules.setdefault(name.rpartition(".")[0], types.ModuleType("package"))
    setattr(package, name.rpartition(".")[2], module)
module.main()
"""

LINE_BYTES = 1 << 20
"""Longest answer."""
NOISE_BYTES = 1 << 17
"""Most output of a login shell before and between the answers."""


def program() -> bytes:
    """The program for the device, as the line that BOOTSTRAP reads."""
    folder = importlib.resources.files("edgekd.bundle.deploy.remote")
    modules = [
        (f"edgekd.bundle.deploy.remote.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES
    ]
    return json.dumps(f"MODULES = {modules!r}\n{_LOADER}").encode() + b"\n"


def written(order: Mapping[str, object]) -> bytes:
    """An order as the line that the program reads."""
    return json.dumps(order).encode() + b"\n"


def parsed(line: bytes, host: str) -> dict[str, Any] | None:
    """The answer in a line; None if the line is a login shell's output.

    Raises:
        DeviceError: the line begins like an answer but is not one.
    """
    text = line.decode("utf-8", "replace")
    if not text.startswith(MARK):
        return None
    try:
        answer = json.loads(text.removeprefix(MARK))
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("step"), str):
        raise DeviceError(host, f"its answer is not understood: {shown(text)!r}")
    return answer


def shown(text: object) -> str:
    """Text from a device, safe to print and shortened."""
    return printable(" ".join(str(text).split()))[:400]
