"""Quantization schemes: which integers a network's weights become, and on which CPUs these are multiplied exactly.

Everything that depends on the width of a weight is asked of a ``Scheme``; a new one is one more of ``SCHEMES``.
"""

from dataclasses import dataclass

from edgekd.ondevice.machine import exact_bits

FEW_BITS = 4
"""Up to so many bits a weight is few: its scale is chosen by least squares, and layers that lose much keep more."""


@dataclass(frozen=True)
class Scheme:
    """How the numbers of a network become integers: activations uint8 per tensor, weights symmetric per channel.

    Args:
        name: as pipelines, artifacts and reports say it.
        weight_bits: of the range of a weight. A file packs weights of fewer than 8 bits where that makes it smaller;
            what multiplies them reads int8.
        wide_bits: of the first, the last and the depthwise layers, where they have more: a few percent of the weights,
            and those whose rounding costs most.
        words: what its weights are called; by their bits unless given.
    """

    name: str
    weight_bits: int
    wide_bits: int = 0
    words: str = ""

    @property
    def weight_limit(self) -> int:
        """Largest |q| of a weight.

        >>> INT8.weight_limit, INT8_IN_7_BITS.weight_limit, W2.weight_limit
        (127, 63, 1)
        """
        return limit_of(self.weight_bits)

    @property
    def is_few(self) -> bool:
        """Are its weights of so few bits that they are packed and chosen by least squares?"""
        return self.weight_bits <= FEW_BITS

    @property
    def widest_bits(self) -> int:
        """Bits of the layers that have most."""
        return max(self.weight_bits, self.wide_bits)

    @property
    def storage(self) -> str:
        """What a weight is kept as in a file."""
        return self.name if self.is_few else "int8"

    @property
    def weights(self) -> str:
        """Its weights in words."""
        return self.words or f"{self.weight_bits}-bit weights"

    @property
    def others(self) -> "tuple[Scheme, ...]":
        """What a calibrated model is tried with beside this one, to show what the choice costs or saves.

        With few bits ranges and batch norms are set for these: what another scheme would do is another stage's to show.
        """
        return () if self.is_few else tuple(scheme for scheme in SCHEMES if scheme != self and not scheme.is_few)

    def exact_on(self, isa: str) -> bool:
        """Does a CPU of this instruction set multiply these weights without saturation, as far as is known?"""
        return self.widest_bits <= exact_bits(isa)

    def calibrated_id(self, model: str) -> str:
        """What the calibrated twin of a model is called in this scheme, beside the model's own.

        >>> INT8_IN_7_BITS.calibrated_id("qat")
        'qat.ptq7'
        """
        return f"{model}.ptq{self.weight_bits}"


def limit_of(bits: int) -> int:
    """Largest |q| of so many bits, symmetric."""
    return int((1 << (bits - 1)) - 1)


def bits_of(largest: int) -> int:
    """Bits that hold integers up to a largest |q|.

    >>> bits_of(127), bits_of(63), bits_of(1), bits_of(5)
    (8, 7, 2, 4)
    """
    return next(bits for bits in range(2, 9) if largest <= limit_of(bits) or bits == 8)


INT8 = Scheme("int8", 8)
INT8_IN_7_BITS = Scheme("int8 in 7 bits", 7)
W4, W3, W2 = Scheme("w4", 4, 7), Scheme("w3", 3, 7), Scheme("w2", 2, 7)
MIXED = Scheme("mixed", 4, 7, "weights of 2 to 7 bits, by layer")
"""Every layer's bits are chosen one by one."""
SCHEMES = (INT8, INT8_IN_7_BITS, W4, W3, W2)
"""The widest range first. Those of few bits are exact on every CPU, their wide layers too."""


def scheme_for(isa: str) -> Scheme:
    """The widest range that a CPU of this instruction set multiplies exactly.

    >>> scheme_for("x86-vnni").name, scheme_for("x86-avx2").name, scheme_for("riscv64").name
    ('int8', 'int8 in 7 bits', 'int8 in 7 bits')
    """
    return next(scheme for scheme in SCHEMES if scheme.exact_on(isa))


def scheme_of(bits: int) -> Scheme:
    """The scheme whose weights have so many bits; KeyError where there is none."""
    return {scheme.weight_bits: scheme for scheme in SCHEMES}[bits]


def scheme_named(name: str) -> Scheme:
    """A scheme by its name; KeyError where there is none."""
    return {scheme.name: scheme for scheme in (*SCHEMES, MIXED)}[name]
