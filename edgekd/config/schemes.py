"""Quantization schemes: which integers a network's weights become, and on which CPUs these are multiplied exactly.

Everything that depends on the width of a weight is asked of a ``Scheme``; a new one is one more of ``SCHEMES``.
"""

from dataclasses import dataclass

from edgekd.ondevice.machine import exact_bits


@dataclass(frozen=True)
class Scheme:
    """How the numbers of a network become integers: activations uint8 per tensor, weights symmetric per channel.

    Args:
        name: as pipelines, artifacts and reports say it.
        weight_bits: of the range of a weight; it is stored in 8 bits.
    """

    name: str
    weight_bits: int

    @property
    def weight_limit(self) -> int:
        """Largest |q| of a weight.

        >>> INT8.weight_limit, INT8_IN_7_BITS.weight_limit
        (127, 63)
        """
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def storage(self) -> str:
        """What a weight is kept as in a file."""
        return "int8"

    @property
    def weights(self) -> str:
        """Its weights in words."""
        return f"{self.weight_bits}-bit weights"

    @property
    def others(self) -> "tuple[Scheme, ...]":
        """What a calibrated model is tried with beside this one, to show what the choice costs or saves."""
        return tuple(scheme for scheme in SCHEMES if scheme != self)

    def exact_on(self, isa: str) -> bool:
        """Does a CPU of this instruction set multiply these weights without saturation, as far as is known?"""
        return self.weight_bits <= exact_bits(isa)

    def calibrated_id(self, model: str) -> str:
        """What the calibrated twin of a model is called in this scheme, beside the model's own.

        >>> INT8_IN_7_BITS.calibrated_id("qat")
        'qat.ptq7'
        """
        return f"{model}.ptq{self.weight_bits}"


INT8 = Scheme("int8", 8)
INT8_IN_7_BITS = Scheme("int8 in 7 bits", 7)
SCHEMES = (INT8, INT8_IN_7_BITS)
"""The widest range first."""


def scheme_for(isa: str) -> Scheme:
    """The widest range that a CPU of this instruction set multiplies exactly.

    >>> scheme_for("x86-vnni").name, scheme_for("x86-avx2").name, scheme_for("riscv64").name
    ('int8', 'int8 in 7 bits', 'int8 in 7 bits')
    """
    return next(scheme for scheme in SCHEMES if scheme.exact_on(isa))


def scheme_named(name: str) -> Scheme:
    """A scheme by its name; KeyError where there is none."""
    return {scheme.name: scheme for scheme in SCHEMES}[name]
