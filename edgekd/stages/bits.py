"""``weight_bits``: how many bits the weights of a quantizing stage's network have, as a whole and layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from torch import nn

from edgekd.config.schemes import FEW_BITS, MIXED, SCHEMES, Scheme, scheme_of
from edgekd.config.target import Target
from edgekd.errors import QuantizationError
from edgekd.ondevice.machine import exact_bits
from edgekd.quantization import layers_of
from edgekd.stages.base import AUTO
from edgekd.zoo import ModelSpec

DEFAULT = "default"
ALLOWED = tuple(sorted(scheme.weight_bits for scheme in SCHEMES))


def _known(given: int | dict[str, int] | str | None) -> int | dict[str, int] | str | None:
    for bits in given.values() if isinstance(given, dict) else (given,):
        if bits not in (None, AUTO, *ALLOWED):
            raise ValueError(f"{bits} bits are not among {', '.join(map(str, ALLOWED))}")
    return given


WeightBits = Annotated[
    int | dict[str, int] | Literal["auto"] | None,
    AfterValidator(_known),
    Field(
        description="2, 3, 4, 7 or 8, or {default: 4, LAYER: 8}, or auto: a mix by layer; as many as the target "
        "multiplies exactly unless given; of 4 and fewer, first, last and depthwise layers keep 7"
    ),
]

MostLost = Annotated[
    float, Field(ge=0, le=1, description="accuracy on val that a mix of bits may lose before it is trained")
]


@dataclass(frozen=True)
class Bits:
    """What ``weight_bits`` asks for on a target.

    Args:
        scheme: of all layers but those that were chosen.
        chosen: bits by layer.
    """

    scheme: Scheme
    chosen: Mapping[str, int]

    @property
    def in_words(self) -> str:
        return self.scheme.weights + (f", {len(self.chosen)} layers with others" if self.chosen else "")

    @classmethod
    def of(cls, given: int | dict[str, int] | str | None, target: Target) -> "Bits":
        if given is None:
            return cls(target.scheme, {})
        if isinstance(given, str):
            return cls(MIXED, {})
        if isinstance(given, int):
            return cls(scheme_of(given), {})
        chosen = {layer: bits for layer, bits in given.items() if layer != DEFAULT}
        return cls(scheme_of(given[DEFAULT]) if DEFAULT in given else target.scheme, chosen)

    @property
    def are_mixed(self) -> bool:
        """Are they still to be chosen, layer by layer?"""
        return self.scheme == MIXED and not self.chosen

    def check(self, model: nn.Module, spec: ModelSpec, target: Target) -> None:
        """Raise QuantizationError where a layer is unknown, or the target would saturate."""
        exact = exact_bits(target.resolved_isa)
        widest = max(self.scheme.widest_bits, *self.chosen.values(), 0)
        if widest > exact:
            problem = f"weight_bits: {widest}-bit weights saturate on {target.resolved_isa}"
            raise QuantizationError(spec.name, problem, f"take {exact} at most")
        layers = layers_of(model, spec) if self.chosen else {}
        for layer in self.chosen:
            if layer not in layers:
                problem = f"weight_bits: there is no layer {layer!r} with weights"
                raise QuantizationError(spec.name, problem, f"name one of: {', '.join(layers)}")


def is_few(given: Any) -> bool:
    """Does ``weight_bits``, as a user wrote it, ask for so few bits that training must be of another kind?"""
    bits = given.get(DEFAULT) if isinstance(given, dict) else given
    return bits == AUTO or (isinstance(bits, int) and bits <= FEW_BITS)


def unread_unless_auto(given: Any) -> dict[str, str]:
    """The settings that only a mix of bits reads."""
    return {} if given == AUTO else {"most_lost": "weight_bits is not auto"}
