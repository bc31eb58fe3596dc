"""The report as one HTML page that needs nothing else: no script, no network."""

from collections.abc import Callable

from edgekd.report import wording as w
from edgekd.report.alarms import alarms
from edgekd.report.page.devices import devices
from edgekd.report.page.markup import NOTHING, Html, el, join
from edgekd.report.page.origin import data_and_environment, kernels, measuring, stages
from edgekd.report.page.parts import card, loud, page, section
from edgekd.report.page.results import comparison, per_class, quantization, scatter, training, widths
from edgekd.report.page.rivals import students
from edgekd.report.roles import checked_of, integer_share, recommended_of, role_of, teacher_of
from edgekd.report.schema import Check, ModelReport, Report
from edgekd.significance import SIGNIFICANT

Section = Callable[[Report], Html]

SECTIONS: tuple[tuple[str, Section], ...] = (
    ("Every file against the teacher", comparison),
    ("Students against one another", students),
    ("Accuracy against latency", scatter),
    ("On devices", devices),
    ("What the weights' range costs on this CPU", quantization),
    ("Accuracy of each class", per_class),
    ("Training", training),
    ("Channels before and after pruning", widths),
    ("Kernels that ONNX Runtime runs", kernels),
    ("Stages", stages),
    ("Data, target and environment", data_and_environment),
    ("How each figure was measured", measuring),
)


def render_html(report: Report) -> str:
    """The whole page; a section that has no data is left out."""
    sections = [section(title, content(report)) for title, content in SECTIONS]
    body = [_header(report), _cards(report), _budget(report), *sections, _footer(report)]
    return page(f"{report.pipeline}: {report.verdict.outcome.upper()}", body)


def _header(report: Report) -> Html:
    model, outcome = recommended_of(report), report.verdict.outcome
    kind = "none" if outcome == "no budget" else outcome
    file = f"{model.id} ({model.file})" if model else report.recommended
    role = role_of(report).capitalize()
    verdict = el(
        "div",
        el("span", outcome.upper(), class_=f"badge {kind}"),
        el("div", el("p", f"{role}: ", el("code", file), class_="chosen"), el("p", report.verdict.reason)),
        class_=f"verdict {kind}",
    )
    context = [
        report.data.name,
        report.target.isa,
        report.target.cpu,
        f"seed {report.seed}",
        report.created.replace("T", " "),
    ]
    line = join(el("span", fact) for fact in context)
    return el("header", el("h1", report.pipeline), el("p", line, class_="context"), verdict, loud(alarms(report)))


def _cards(report: Report) -> Html:
    model, teacher = recommended_of(report), teacher_of(report)
    if model is None or teacher is None:
        return NOTHING
    cards = [
        _size_card(model, teacher),
        _speed_card(model, teacher),
        _accuracy_card(model, teacher),
        _kernel_card(model),
    ]
    return el("div", *cards, class_="cards")


def _size_card(model: ModelReport, teacher: ModelReport) -> Html:
    sizes = f"{w.kilobytes(model.size_bytes)} kB of {w.kilobytes(teacher.size_bytes)} kB"
    if model == teacher:
        return card("Size", "1×", " the teacher itself", sizes)
    larger = model.size_ratio > 1
    factor = model.size_ratio if larger else 1 / model.size_ratio
    return card("Size", f"{w.times(factor)}×", " larger" if larger else " smaller", sizes)


def _speed_card(model: ModelReport, teacher: ModelReport) -> Html:
    p50 = f"p50 {w.milliseconds(model.latency_ms.p50)} ms of {w.milliseconds(teacher.latency_ms.p50)} ms"
    if model == teacher:
        return card("Latency", "1×", " the teacher itself", p50)
    speedup, faster = model.speedup, model.speedup.ratio > 1
    interval = f"95 % interval {w.ratio(speedup.ci95[0])} to {w.ratio(speedup.ci95[1])}"
    if not speedup.measured:
        return card("Latency", w.NO_DIFFERENCE, "", p50, f"speedup {w.ratio(speedup.ratio)}", interval)
    factor = speedup.ratio if faster else 1 / speedup.ratio
    return card("Latency", f"{w.times(factor)}×", " faster" if faster else " slower", p50, interval)


def _accuracy_card(model: ModelReport, teacher: ModelReport) -> Html:
    low, high = model.accuracy_ci95
    against = [] if model == teacher else [_drop_words(model), _significance(model)]
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return card("Accuracy", w.percent(model.accuracy).removesuffix(" %"), " %", *against, interval)


def _drop_words(model: ModelReport) -> str:
    points = w.points(abs(model.accuracy_drop)).lstrip("+")
    if points == "0.0":
        return "level with the teacher"
    return f"{points} points {'below' if model.accuracy_drop > 0 else 'above'} the teacher"


def _significance(model: ModelReport) -> str:
    p, ci95 = model.paired.p_value, model.accuracy_drop_ci95
    words = f"McNemar {w.p_value(p)}" if p < SIGNIFICANT else w.NO_DIFFERENCE
    return words if ci95 is None else f"{words}, drop {w.minus(w.points_interval(ci95))}"


def _kernel_card(model: ModelReport) -> Html:
    share = integer_share(model)
    total = model.kernels.integer + model.kernels.float
    figure = "none" if share is None else "100" if share == 1 else w.percent(share).removesuffix(" %")
    return card(
        "Integer kernels",
        figure,
        " %" if share is not None else "",
        f"{model.kernels.integer} of {total} kernels",
        *([w.PTQ_KEPT] if model.trained_in_vain else []),
    )


def _budget(report: Report) -> Html:
    if not report.verdict.checks:
        return NOTHING
    rows = [_check(check) for check in report.verdict.checks]
    head = el("thead", el("tr", *(el("th", title) for title in ("", "limit", "value", "of the limit", ""))))
    model = checked_of(report)
    caption = f"held against {model.id} on test" if model else ""
    table = el("table", head, el("tbody", *rows), class_="budget")
    return el("section", el("h2", "Budget"), el("p", caption, class_="lead"), table)


def _check(check: Check) -> Html:
    kind = "pass" if check.passed else "fail"
    used = min(max(check.value / check.limit, 0), 1) if check.limit > 0 else float(not check.passed)
    bar = el("div", el("div", class_=kind, style=f"width:{100 * used:.0f}%"), class_="bar")
    tag = el("span", "kept" if check.passed else "missed", class_=f"tag {kind}")
    cells = [check.name, _amount(check.name, check.limit), _amount(check.name, check.value), bar, tag]
    return el("tr", *(el("td", cell) for cell in cells))


def _amount(name: str, value: float) -> str:
    if name != "accuracy_drop":
        return w.ratio(value)
    return f"{w.minus(w.points(value, 2).lstrip('+'))} points"


def _footer(report: Report) -> Html:
    maker = f"edgekd {report.environment.get('edgekd', '')}".strip()
    return el("footer", f"{maker} · schema {report.schema_version} · the same figures are in report.json")
