"""The machine that will run the result: its instruction set, threads, batch, and what they allow."""

import platform
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekd.config import Settings

Isa = Literal["x86-avx2", "x86-vnni", "arm64"]


class Target(Settings):
    """What runs the exported file."""

    isa: Literal["host", "x86-avx2", "x86-vnni", "arm64"] = Field(
        "host", description="instruction set that decides the number ranges"
    )
    threads: int = Field(1, ge=1, le=256, description="threads of one inference")
    batch: int = Field(1, ge=1, le=1024, description="images of one inference when latency is measured")

    @property
    def resolved_isa(self) -> Isa:
        """The declared instruction set; where it says host, this machine's."""
        return host_isa() if self.isa == "host" else self.isa

    @property
    def weight_bits(self) -> int:
        """7 where the integer multiply saturates with 8-bit weights, else 8."""
        return weight_bits(self.resolved_isa)


@cache
def host_isa() -> Isa:
    """This machine's instruction set as far as integer multiplication goes."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "arm64"
    return "x86-vnni" if cpu_flags() & {"avx512_vnni", "avx_vnni"} else "x86-avx2"


@cache
def cpu_flags() -> frozenset[str]:
    """The flags that Linux lists for this CPU; empty where it lists none."""
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def multiplies_bf16() -> bool:
    """Has this CPU instructions for bfloat16? Without them each product is computed in float32, slowly."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


@cache
def cpu_name() -> str:
    """This CPU's name as the system gives it."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def weight_bits(isa: Isa) -> int:
    """Bits of an integer weight that a CPU multiplies exactly.

    Without VNNI an AVX2 CPU adds two u8*s8 products in 16 bits: 255 * 127 * 2 = 64770 does not fit,
    255 * 63 * 2 = 32130 does. ONNX Runtime's ARM64 kernels add in 32 bits.
    """
    return 7 if isa == "x86-avx2" else 8


def weight_limit(bits: int) -> int:
    """Largest |q| of a symmetric weight of so many bits.

    >>> weight_limit(7), weight_limit(8)
    (63, 127)
    """
    return (1 << (bits - 1)) - 1


def width_step(channels: int, isa: Isa) -> int:
    """Channels that ONNX Runtime's integer kernels like a layer's width to be a multiple of.

    On x86 the fast depthwise kernel wants multiples of 16 and the dense one 16 outputs at least; on ARM64 8 do. Layers
    that had fewer than 32 channels would lose too much with steps of 16: they go in steps of 8.
    """
    return 8 if isa == "arm64" or channels < 32 else 16


def round_width(wanted: float, channels: int, isa: Isa) -> int:
    """The width nearest to ``wanted`` that the target's kernels like.

    Never 0, never more than ``channels``; a layer narrower than one step keeps its width. Halfway goes up.

    >>> [round_width(12, 24, "x86-avx2"), round_width(48, 96, "x86-avx2"), round_width(3, 16, "x86-avx2")]
    [16, 48, 8]
    """
    step = width_step(channels, isa)
    return min(channels, max(step, int(wanted / step + 0.5) * step))
