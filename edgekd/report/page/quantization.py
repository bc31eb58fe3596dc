"""The cost of each weight range: a table, and sentences about it."""

from edgekd.report import wording as w
from edgekd.report.schema import Quantization, TargetFacts, WeightBits
from edgekd.report.table import Line, Row, Table, cell, figures, words


def bits_table(facts: Quantization) -> Table:
    """Accuracy at each weight range as ONNX Runtime ships it on this CPU, and the same file run exactly."""
    titles = ("as shipped", "run exactly", "lost on this CPU")
    columns = [words("weights"), *(figures(title) for title in titles)]
    return Table(columns, [_row(bits, facts.declared_bits) for bits in facts.calibrated])


def _row(bits: WeightBits, declared: int) -> Row:
    lost = bits.exact - bits.as_shipped
    return Row(
        [
            cell(Line(f"{bits.bits} bits", "strong"), f"|q| ≤ {2 ** (bits.bits - 1) - 1}"),
            cell(w.percent(bits.as_shipped)),
            cell(w.percent(bits.exact)),
            cell(Line(f"{w.minus(w.points(lost).lstrip('+'))} points", "fail" if lost > 0.01 else "")),
        ],
        tag=Line("used", "pass") if bits.bits == declared else None,
    )


def bits_in_words(facts: Quantization, target: TargetFacts) -> list[str]:
    """What this CPU does to 8-bit weights, what the other range would have cost, and what was kept."""
    return [sentence for sentence in (_saturation(facts, target), _cost(facts), _kept(facts)) if sentence]


def _saturation(facts: Quantization, target: TargetFacts) -> str:
    isa, narrow = target.isa, facts.declared_bits < 8
    if target.saturates:
        cause = (
            "This CPU adds pairs of 8-bit products in 16 bits. With 8-bit weights such a sum can be too large, and is "
            "clipped without a word."
        )
        kept = f"For {isa} the weights are kept in {facts.declared_bits} bits, where every sum fits."
        wide = f"{isa}, the declared target, has no such limit: its file uses all 8 bits and is less accurate here."
        return f"{cause} {kept if narrow else wide}"
    kept = f"{isa}, the declared target, does: the weights are kept in {facts.declared_bits} bits."
    return f"This CPU's 8-bit multiplication does not saturate. {kept if narrow else 'All 8 bits are used.'}"


def _cost(facts: Quantization) -> str:
    """What the other range would have cost or gained."""
    used = next((bits for bits in facts.calibrated if bits.bits == facts.declared_bits), None)
    other = next((bits for bits in facts.calibrated if bits.bits != facts.declared_bits), None)
    if used is None or other is None:
        return ""
    gained = used.as_shipped - other.as_shipped
    amount = w.points(abs(gained)).lstrip("+")
    if amount == "0.0":
        return f"Measured here, {other.bits} bits would have made no difference."
    verb = "lost" if gained > 0 else "gained"
    return f"Measured here, {other.bits} bits would have {verb} {amount} points against {used.bits} bits."


def _kept(facts: Quantization) -> str:
    ptq = f"calibration alone (ptq) reached {w.percent(facts.ptq_val_accuracy)}"
    if facts.qat_val_accuracy is None:
        return f"On validation {ptq}; there was no quantization-aware training."
    qat = f"quantization-aware training (qat) {w.percent(facts.qat_val_accuracy)}"
    return f"On validation {ptq}, {qat}: {facts.kept} was kept."
