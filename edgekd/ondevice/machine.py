"""The machine: CPU, instruction set, memory and temperature, as far as Linux exposes them."""

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterable, List, Literal, Optional, Tuple

import numpy as np

from edgekd.ondevice.sessions import onnxruntime_version

Isa = Literal["x86-avx2", "x86-vnni", "arm64", "any"]
ISAS: Tuple[Isa, ...] = ("x86-avx2", "x86-vnni", "arm64")
"""Those of CPUs whose integer arithmetic is known; ``any`` is a target alone: what is exact on all of them."""


@cache
def host_isa() -> str:
    """This machine's instruction set with regard to integer multiplication: one of ``ISAS``, or the machine's name."""
    return isa_of(machine_name(), cpu_flags())


def machine_name() -> str:
    """The machine type as Python reports it; marked if Python is 32-bit on a 64-bit system: its kernels differ."""
    name = platform.machine()
    return f"{name} (32-bit)" if "64" in name and sys.maxsize < 2**32 else name


def isa_of(machine: str, flags: Iterable[str]) -> str:
    """The instruction set, from a machine's name and its CPU's flags; for unknown machines their name.

    A 64-bit x86 without AVX2 counts as x86-avx2: ONNX Runtime's SSE4.1 kernel adds two products in 16 bits as well.

    >>> isa_of("aarch64", ()), isa_of("x86_64", ("avx2", "avx_vnni")), isa_of("x86_64", ("sse4_1",))
    ('arm64', 'x86-vnni', 'x86-avx2')
    >>> isa_of("armv7l", ("neon",)), isa_of("riscv64", ())
    ('armv7l', 'riscv64')
    """
    if machine.lower() in ("aarch64", "arm64"):
        return "arm64"
    if machine.lower() not in ("x86_64", "amd64"):
        return machine
    return "x86-vnni" if {"avx512_vnni", "avx_vnni"}.intersection(flags) else "x86-avx2"


@cache
def cpu_flags() -> FrozenSet[str]:
    """The flags that Linux lists for this CPU; empty where it lists none."""
    for line in cpuinfo():
        # The key is ``flags`` on x86, ``Features`` on ARM.
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def multiplies_bf16() -> bool:
    """Does this CPU have bfloat16 instructions? Without them products are computed in float32, slowly."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


@cache
def cpu_name() -> str:
    """This CPU's name as the system reports it; the board's name if the CPU has none."""
    names = [line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name")]
    board = _text(Path("/proc/device-tree/model"))
    return names[0] if names else board or platform.processor() or platform.machine()


def cpuinfo() -> List[str]:
    """The lines of /proc/cpuinfo; none where there is no such file."""
    return _text(Path("/proc/cpuinfo")).splitlines()


def exact_bits(isa: str) -> int:
    """Bits of an integer weight that a CPU is known to multiply exactly.

    Without VNNI an AVX2 CPU adds two u8*s8 products in 16 bits: 255 * 127 * 2 = 64770 does not fit,
    255 * 63 * 2 = 32130 does. ONNX Runtime's ARM64 kernels add in 32 bits.
    Of other machines nothing is known, so they have the fewer, as the target ``any`` has.
    """
    return 8 if isa in ("x86-vnni", "arm64") else 7


def isa_warning(target_isa: str, bits: int, device_isa: str) -> str:
    """A warning that a model made for one instruction set runs on another; empty if they are the same.

    >>> isa_warning("arm64", 8, "arm64"), isa_warning("any", 7, "x86-avx2")
    ('', '')
    """
    if target_isa == device_isa or (target_isa == "any" and device_isa in ISAS):
        return ""
    if not bits:
        return f"made for {target_isa}, but this CPU is {device_isa}: speed was measured for {target_isa}"
    made = f"made for {target_isa} with {bits}-bit weights, but this CPU is {device_isa}"
    if device_isa not in ISAS:
        return f"{made}, which edgekd does not know: {_unknown(bits)}; widths and speed were chosen for {target_isa}"
    if bits > exact_bits(device_isa):
        return f"{made}: without VNNI its sums SATURATE, accuracy is LOST; export again with target.isa: {device_isa}"
    if bits < exact_bits(device_isa):
        return f"{made}: results stay right, but a bit of precision is given away; export again with its own target.isa"
    return f"{made}: results stay right, but layer widths and speed were chosen and measured for {target_isa}"


def _unknown(bits: int) -> str:
    if bits <= 7:
        return "7-bit weights saturate nowhere"
    return "only the self-test shows whether its sums saturate with them"


def machine_facts() -> Dict[str, Any]:
    """CPU, instruction set, cores, versions."""
    return {
        "cpu": cpu_name(),
        "isa": host_isa(),
        "machine": machine_name(),
        "cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime_version(),
    }


def usable_cores() -> int:
    """CPU cores that this process may use."""
    # os.cpu_count() ignores taskset and a container's CPU set.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_rss_bytes() -> Optional[int]:
    """Peak memory of this process; None if the system does not report it.

    VmHWM, because Linux's ``ru_maxrss`` starts at what the parent process held.
    """
    marks = [line.split() for line in _text(Path("/proc/self/status")).splitlines() if line.startswith("VmHWM:")]
    if marks:
        return int(marks[0][1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kilobytes.
    return int(used if sys.platform == "darwin" else used * 1024)


def temperature_c(root: Path = Path("/sys")) -> Optional[float]:
    """Temperature of the hottest thermal zone, degrees Celsius; None if there are no zones."""
    found = [_text(path).strip() for path in sorted(root.glob("class/thermal/thermal_zone*/temp"))]
    degrees = [int(text) / 1000 for text in found if text.lstrip("-").isdigit()]
    # Zones without a working sensor report temperatures that no running machine has.
    return max((value for value in degrees if -50 < value < 200), default=None)


def throttle_marks(root: Path = Path("/sys")) -> Optional[List[str]]:
    """Throttling counters (x86, per core) and firmware flags (Raspberry Pi) as text; None if the kernel exposes none.

    If they change during a measurement, the CPU was throttled.
    """
    patterns = ("devices/system/cpu/cpu*/thermal_throttle/*_count", "devices/platform/soc/*firmware/get_throttled")
    found = [f"{path}: {_text(path).strip()}" for pattern in patterns for path in sorted(root.glob(pattern))]
    return found or None


def slowed_down(before: Optional[List[str]], after: Optional[List[str]]) -> Optional[bool]:
    """Was the CPU throttled in between? A Raspberry Pi's low four flag bits mean that it is throttled now."""
    if before is None or after is None:
        return None
    return before != after or any(_throttled_now(mark) for mark in after if "get_throttled" in mark)


def _throttled_now(mark: str) -> bool:
    try:
        return bool(int(mark.rpartition(" ")[2], 16) & 0xF)
    except ValueError:
        return False


def _text(path: Path) -> str:
    try:
        # Strings of the device tree end in a NUL byte.
        return path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    except OSError:
        return ""
