"""The machine that will run the result: its instruction set, threads, batch, and what they allow."""

from typing import Literal

from pydantic import Field

from edgekd.config import Settings
from edgekd.config.schemes import Scheme, scheme_for
from edgekd.errors import ConfigError
from edgekd.ondevice.limits import MOST_BATCH, MOST_THREADS
from edgekd.ondevice.machine import ISAS, Isa, host_isa


class Target(Settings):
    """What runs the exported file."""

    isa: Literal["host", "any", "x86-avx2", "x86-vnni", "arm64"] = Field(
        "host", description="instruction set that decides the number ranges; any: ranges that are exact on all of them"
    )
    threads: int = Field(1, ge=1, le=MOST_THREADS, description="threads of one inference")
    batch: int = Field(1, ge=1, le=MOST_BATCH, description="images of one inference when latency is measured")

    @property
    def resolved_isa(self) -> Isa:
        """The declared instruction set, any among them; where it says host, this machine's.

        Raises:
            ConfigError: it says host, and of this machine nothing is known.
        """
        if self.isa != "host":
            return self.isa
        found = host_isa()
        for known in ISAS:
            if known == found:
                return known
        raise ConfigError(
            "target.isa",
            f"host is {found}, whose integer arithmetic is not known",
            "declare arm64 (8-bit weights) if edgekd doctor finds these exact there, else x86-avx2 (7-bit weights)",
        )

    @property
    def scheme(self) -> Scheme:
        """What its integers are: the widest range that it multiplies without saturation."""
        return scheme_for(self.resolved_isa)


def width_step(channels: int, isa: Isa) -> int:
    """Channels that ONNX Runtime's integer kernels like a layer's width to be a multiple of.

    On x86 the fast depthwise kernel wants multiples of 16 and the dense one 16 outputs at least; on ARM64 8 do, so that
    ``any`` has x86's. Layers that had fewer than 32 channels would lose too much with steps of 16: they go in steps
    of 8.
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
