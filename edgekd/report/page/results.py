"""The page's results: files compared, accuracy, quantization, training, pruned widths."""

from edgekd.report import wording as w
from edgekd.report.page import plots
from edgekd.report.page.markup import NOTHING, Html, el, join
from edgekd.report.page.parts import figure, small
from edgekd.report.roles import balanced_of, faster_float_than, pruned_stages, role_of, teacher_of, trained_stages
from edgekd.report.schema import ModelReport, Quantization, Report, StageReport, WeightBits

_COLUMNS = (
    ("model", "precision"),
    ("accuracy", "95 % interval"),
    ("drop, points", "95 % interval, McNemar"),
    ("size, kB", "of the teacher's"),
    ("p50, ms", "ratio, 95 % interval"),
    ("MACs", "params"),
    ("kernels", "integer / float"),
    ("agreement", "torch = ONNX"),
)


def comparison(report: Report) -> Html:
    """One row per file, and the report's notes."""
    if not report.models:
        return NOTHING
    head = el("tr", *(el("th", title, small(detail), scope="col") for title, detail in _COLUMNS))
    rows = [_model_row(report, model) for model in report.models]
    table = el("table", el("thead", head), el("tbody", *rows), class_="models")
    notes = el("ul", *(el("li", note) for note in report.notes), class_="notes") if report.notes else NOTHING
    return join([el("div", table, class_="scroll"), notes])


def _model_row(report: Report, model: ModelReport) -> Html:
    chosen = model.id == report.recommended
    word, kind = role_of(report), "warn" if report.verdict.outcome == "fail" else "pass"
    tag = el("span", word, class_=f"tag {kind}") if chosen else NOTHING
    cells = [
        join([el("b", model.id), " ", tag, small(w.numbers_of(model))]),
        join([w.percent(model.accuracy), small(w.percent_interval(model.accuracy_ci95)), _balanced(report, model)]),
        _drop(report, model),
        join([w.kilobytes(model.size_bytes), small(w.ratio(model.size_ratio))]),
        _latency(report, model),
        join([w.count(model.macs), small(w.count(model.params))]),
        join([f"{model.kernels.integer} / {model.kernels.float}"]),
        w.percent(model.agreement),
    ]
    return el("tr", *(el("td", cell) for cell in cells), class_=row_style(report, model.id))


def _balanced(report: Report, model: ModelReport) -> Html:
    found = balanced_of(report, model)
    return NOTHING if found is None else small(f"balanced {w.percent(found)}")


def row_style(report: Report, model: str) -> str:
    """How a table marks the row of the file that ships."""
    outcome = report.verdict.outcome.replace(" ", "-")
    return f"chosen {outcome}" if model == report.recommended else ""


def _drop(report: Report, model: ModelReport) -> Html:
    if model == teacher_of(report):
        return el("span", "teacher", class_="muted")
    ci95, val, p = model.accuracy_drop_ci95, model.val_paired, w.p_value(model.paired.p_value)
    interval = "" if ci95 is None else f"{w.minus(w.points_interval(ci95))} "
    on_val = NOTHING if val is None else small(f"on val {w.minus(w.points(val.drop))}")
    return join([w.minus(w.points(model.accuracy_drop)), small(f"{interval}{p}"), on_val])


def _latency(report: Report, model: ModelReport) -> Html:
    p50 = w.milliseconds(model.latency_ms.p50)
    if model == teacher_of(report):
        return join([p50, small(w.ratio(1.0))])
    relative = f"{w.ratio(model.latency_ratio.ratio)} {w.ratio_interval(model.latency_ratio)}"
    unclear = NOTHING if model.latency_ratio.measured else small(w.NO_DIFFERENCE)
    faster = faster_float_than(report, model)
    slow = el("span", f"slower than {faster.id}", class_="tag warn") if faster else NOTHING
    return join([p50, small(relative), unclear, slow])


def scatter(report: Report) -> Html:
    if len(report.models) < 2:
        return NOTHING
    lead = "Up and to the left is better. Bars are 95 % intervals of accuracy, areas are file sizes."
    keys = (("teacher", plots.TEACHER), ("float32", plots.FLOAT), ("int8", plots.INTEGER))
    legend = [el("span", el("i", style=f"background:{colour}"), name, class_="key") for name, colour in keys]
    return join([el("p", f"{lead} ", *legend, class_="lead"), figure(plots.accuracy_latency_plot(report))])


def per_class(report: Report) -> Html:
    plot = plots.per_class_plot(report)
    classes, most = len(report.data.class_names), plots.MOST_CLASSES
    lead = el("p", f"The {most} of {classes} classes that differ most.", class_="lead") if classes > most else NOTHING
    return join([lead, figure(plot)]) if plot else NOTHING


def training(report: Report) -> Html:
    return join(
        el(
            "div",
            el("h3", stage.id, small(_training_words(stage))),
            figure(plots.training_plot(stage)),
            class_="block",
        )
        for stage in trained_stages(report)
    )


def _training_words(stage: StageReport) -> str:
    epochs = f"{len(stage.epochs)} epochs" if len(stage.epochs) > 1 else "1 epoch"
    return f" {epochs}{_best_words(stage)}, {w.seconds(stage.seconds)}"


def _best_words(stage: StageReport) -> str:
    if stage.best_epoch is None:
        return ""
    return f", the best is {stage.best_epoch}" if stage.best_epoch else ", none better than the start, which was kept"


def widths(report: Report) -> Html:
    lead = el("p", "Light: before. Dark: after.", class_="lead")
    blocks = [
        el(
            "div",
            el("h3", stage.id, small(_widths_words(stage))),
            figure(plots.widths_plot(stage)),
            _width_notes(stage),
            class_="block",
        )
        for stage in pruned_stages(report)
    ]
    return join([lead, *blocks]) if blocks else NOTHING


def _widths_words(stage: StageReport) -> str:
    before, after = sum(width.before for width in stage.widths), sum(width.after for width in stage.widths)
    return f" {before:,} channels in {len(stage.widths)} layers became {after:,}"


def _width_notes(stage: StageReport) -> Html:
    notes = dict.fromkeys(width.note for width in stage.widths if width.note)
    lines = [
        el("li", f"{note}: {', '.join(width.layer for width in stage.widths if width.note == note)}") for note in notes
    ]
    return el("ul", *lines, class_="notes quiet") if lines else NOTHING


def quantization(report: Report) -> Html:
    """Accuracy at each weight range as ONNX Runtime ships it on this CPU, and the same file run exactly."""
    facts = report.quantization
    if facts is None:
        return NOTHING
    titles = ("weights", "as shipped", "run exactly", "lost on this CPU")
    head = el("tr", *(el("th", title, scope="col") for title in titles))
    rows = [_bits_row(bits, facts.declared_bits) for bits in facts.calibrated]
    table = el("table", el("thead", head), el("tbody", *rows), class_="bits")
    words = [el("p", sentence) for sentence in (_saturation(report, facts), _cost(facts), _kept(facts)) if sentence]
    caption = el("p", _calibrated(facts), class_="muted") if facts.calibrated else NOTHING
    return el("div", el("div", *words), el("div", table, caption) if facts.calibrated else NOTHING, class_="halves")


def _bits_row(bits: WeightBits, declared: int) -> Html:
    tag = el("span", "used", class_="tag pass") if bits.bits == declared else NOTHING
    lost = bits.exact - bits.as_shipped
    style = "tag fail" if lost > 0.01 else ""
    cells = [
        join([el("b", f"{bits.bits} bits"), " ", tag, small(f"|q| ≤ {2 ** (bits.bits - 1) - 1}")]),
        w.percent(bits.as_shipped),
        w.percent(bits.exact),
        el("span", f"{w.minus(w.points(lost).lstrip('+'))} points", class_=style),
    ]
    return el("tr", *(el("td", cell) for cell in cells))


def _calibrated(facts: Quantization) -> str:
    return f"{facts.source}, calibrated only (ptq), on {facts.calibrated[0].total} images."


def _saturation(report: Report, facts: Quantization) -> str:
    isa, narrow = report.target.isa, facts.declared_bits < 8
    if report.target.saturates:
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
    """What the range that was not chosen would have cost, or saved."""
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
