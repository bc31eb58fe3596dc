"""The page's devices: the same files, measured on other machines."""

from edgekd.report import wording as w
from edgekd.report.devices import device_facts, device_warnings, relative_words
from edgekd.report.page.markup import NOTHING, Html, el, join
from edgekd.report.page.parts import pairs, small
from edgekd.report.page.results import row_style
from edgekd.report.roles import teacher_of
from edgekd.report.schema import DeviceModel, DeviceReport, Report

_COLUMNS = ("model", "p50, ms", "p90, ms", "p99, ms", "of the teacher's, 95 % interval")


def devices(report: Report) -> Html:
    """A table for each device, and what it warns of."""
    return join(_device(report, device) for device in report.devices)


def _device(report: Report, device: DeviceReport) -> Html:
    warnings = [el("li", text) for text in device_warnings(device)]
    head = el("tr", *(el("th", title, scope="col") for title in _COLUMNS))
    rows = [_row(report, model) for model in device.models]
    table = el("table", el("thead", head), el("tbody", *rows), class_="models device")
    return el(
        "div",
        el("h3", device.name),
        el("ul", *warnings, class_="notes loud") if warnings else NOTHING,
        el("div", table, class_="scroll"),
        pairs(device_facts(device)),
        el("p", device.selftest, class_="muted"),
        class_="block",
    )


def _row(report: Report, model: DeviceModel) -> Html:
    latency, teacher = model.latency_ms, teacher_of(report)
    same = teacher is not None and model.id == teacher.id
    unclear = NOTHING if same or model.latency_ratio.measured else small(w.NO_DIFFERENCE)
    cells = [
        el("b", model.id),
        *(w.milliseconds(value) for value in (latency.p50, latency.p90, latency.p99)),
        w.ratio(1.0) if same else join([relative_words(model), unclear]),
    ]
    return el("tr", *(el("td", cell) for cell in cells), class_=row_style(report, model.id))
