"""The cost of each weight range: a table, and sentences about it."""

from collections.abc import Callable, Sequence

from edgekd.config.schemes import limit_of
from edgekd.ondevice.machine import exact_bits
from edgekd.report import wording as w
from edgekd.report.schema import LayerLoss, Quantization, TargetFacts, WeightBits
from edgekd.report.table import Line, Row, Table, cell, figures, words
from edgekd.training.significance import SIGNIFICANT


def bits_table(facts: Quantization) -> Table:
    """Accuracy at each weight range as ONNX Runtime ships it on this CPU: calibrated, run exactly, and trained.

    A column is left out where no file has anything to say in it.
    """
    shown = [column for column in _COLUMNS if any(column[1](bits) is not None for bits in facts.calibrated)]
    columns = [words("weights"), *(figures(title) for title, _ in shown)]
    return Table(
        columns, [_row(bits, bits == _used(facts), [of(bits) for _, of in shown]) for bits in facts.calibrated]
    )


def _row(bits: WeightBits, used: bool, figures: Sequence[Line | None]) -> Row:
    name = cell(Line(f"{bits.bits} bits", "strong"), f"|q| ≤ {limit_of(bits.bits)}")
    if bits.name:
        name = cell(Line("mixed", "strong"), bits.name)
    cells = [cell(figure or Line("not run", "muted")) for figure in figures]
    return Row([name, *cells], tag=Line("used", "pass") if used else None)


def _lost(bits: WeightBits) -> Line:
    lost = bits.exact - bits.as_shipped
    return Line(f"{w.minus(w.points(lost).lstrip('+'))} points", "fail" if lost > 0.01 else "")


def _share(value: float | None) -> Line | None:
    return None if value is None else Line(w.percent(value))


_COLUMNS: tuple[tuple[str, Callable[[WeightBits], Line | None]], ...] = (
    ("kB", lambda bits: None if bits.size_bytes is None else Line(w.kilobytes(bits.size_bytes))),
    ("calibrated", lambda bits: _share(bits.as_shipped)),
    ("run exactly", lambda bits: _share(bits.exact)),
    ("lost on this CPU", _lost),
    ("trained with labels", lambda bits: _share(bits.with_labels)),
    ("trained with a teacher", lambda bits: _share(bits.with_teacher)),
)


def layers_table(facts: Quantization) -> Table:
    """What each layer loses with few bits, the most sensitive at two bits first, and the bits that the mix gave it."""
    tried = sorted({bits for layer in facts.layers for bits in layer.loss}, reverse=True)
    columns = [words("layer"), figures("weights"), *(figures(f"{bits} bits") for bits in tried), figures("taken")]
    ordered = sorted(facts.layers, key=lambda layer: layer.loss[tried[-1]], reverse=True)
    return Table(columns, [_layer_row(layer, tried) for layer in ordered])


def _layer_row(layer: LayerLoss, tried: Sequence[int]) -> Row:
    losses = [cell(w.minus(f"{layer.loss[bits]:+.3f}")) for bits in tried]
    return Row([cell(Line(layer.layer, "code")), cell(w.count(layer.weights)), *losses, cell(f"{layer.bits} bits")])


def bits_in_words(facts: Quantization, target: TargetFacts) -> list[str]:
    """What this CPU does to 8-bit weights, what the other range would have cost, and what was kept."""
    return [sentence for sentence in (_saturation(facts, target), _cost(facts), _kept(facts)) if sentence]


def _saturation(facts: Quantization, target: TargetFacts) -> str:
    isa, bits = target.isa, 7 if facts.declared_name else facts.declared_bits  # of a mix at most
    if target.saturates:
        cause = (
            "This CPU adds pairs of 8-bit products in 16 bits. With 8-bit weights such a sum can be too large, and is "
            "clipped without a word."
        )
        kept = f"For {'every CPU' if isa == 'any' else isa} the weights are kept in {bits} bits, where every sum fits."
        wide = f"{isa}, the declared target, has no such limit: its file uses all 8 bits and is less accurate here."
        return f"{cause} {kept if bits < 8 else wide}"
    if bits == 8:
        why = "All 8 bits are used."
    elif isa == "any":
        why = f"Other CPUs' does, and the target is any: the weights are kept in {bits} bits, where every sum fits."
    elif exact_bits(isa) < 8:
        why = f"{isa}, the declared target, does: the weights are kept in {bits} bits."
    else:
        why = f"Weights of {bits} bits are chosen for their size."
    return f"This CPU's 8-bit multiplication does not saturate. {why}"


def _cost(facts: Quantization) -> str:
    """What the ranges that were not chosen would have cost, or saved, where that is more than chance."""
    used = _used(facts)
    others = [bits for bits in facts.calibrated if bits != used]
    if used is None or not others:
        return ""
    return "Measured here, calibrated only: " + "; ".join(_difference(used, other) for other in others) + "."


def _difference(used: WeightBits, other: WeightBits) -> str:
    gained, paired = used.as_shipped - other.as_shipped, other.against_used
    amount = w.points(abs(gained)).lstrip("+")
    chance = "" if paired is None else f" ({w.p_value(paired.p_value)})"
    if amount == "0.0":
        return f"no difference between {_words(other)} and {_words(used)}"
    if paired is not None and paired.p_value >= SIGNIFICANT:
        return f"{_words(other)} and {_words(used)} are {amount} points apart, which is within chance{chance}"
    return f"{'lost' if gained > 0 else 'gained'} by {_words(other)} against {_words(used)}: {amount} points{chance}"


def _used(facts: Quantization) -> WeightBits | None:
    """The row of what is used; None where it was not measured."""
    declared = (facts.declared_bits, facts.declared_name)
    return next((bits for bits in facts.calibrated if (bits.bits, bits.name) == declared), None)


def _words(bits: WeightBits) -> str:
    return "the mix" if bits.name else f"{bits.bits} bits"


def _kept(facts: Quantization) -> str:
    ptq = f"calibration alone (ptq) reached {w.percent(facts.ptq_val_accuracy)}"
    if facts.qat_val_accuracy is None:
        return f"On validation {ptq}; there was no quantization-aware training."
    qat = f"quantization-aware training (qat) {w.percent(facts.qat_val_accuracy)}"
    return f"On validation {ptq}, {qat}: {facts.kept} was kept."
