"""A report's devices: facts, warnings, a table of latencies."""

from edgekd.report import wording as w
from edgekd.report.roles import chosen_outcome, teacher_of
from edgekd.report.schema import DeviceModel, DeviceReport, Report
from edgekd.report.table import Line, Row, Table, cell, figures, words

UNKNOWN = "not known"


def device_facts(device: DeviceReport) -> dict[str, str]:
    """The device, its settings, memory and temperature."""
    temperature = device.temperature_c
    return {
        "CPU": device.cpu,
        "isa": f"{device.isa} ({device.machine})",
        "ONNX Runtime": device.onnxruntime,
        "Python": device.python,
        "threads": str(device.threads),
        "batch": str(device.batch),
        "peak memory, each file alone": _memory(device),
        "temperature": UNKNOWN if temperature is None else f"{temperature:.0f} °C",
    }


def _memory(device: DeviceReport) -> str:
    known = [(model.id, model.peak_rss_bytes) for model in device.models if model.peak_rss_bytes is not None]
    return ", ".join(f"{name} {memory / 1e6:,.0f} MB" for name, memory in known) or UNKNOWN


def device_warnings(device: DeviceReport) -> list[str]:
    """Warnings about a device's figures, a sentence each."""
    slowed = "The clock was lowered while it measured: at its full clock it is faster."
    return [*([slowed] if device.throttled else []), *device.warnings]


def device_table(report: Report, device: DeviceReport) -> Table:
    """Latency of each file on the device."""
    titles = ("p50, ms", "p90, ms", "p99, ms", "ratio [95 %]")
    columns = [words("model"), *(figures(title) for title in titles)]
    return Table(columns, [_row(report, model) for model in device.models])


def _row(report: Report, model: DeviceModel) -> Row:
    latency, ratio, teacher = model.latency_ms, model.latency_ratio, teacher_of(report)
    same = teacher is not None and model.id == teacher.id
    unclear = "" if ratio.measured else w.NO_DIFFERENCE
    relative = cell(w.ratio(1.0)) if same else cell(w.ratio_with_interval(ratio), unclear)
    percentiles = [cell(w.milliseconds(value)) for value in (latency.p50, latency.p90, latency.p99)]
    return Row([cell(Line(model.id, "strong")), *percentiles, relative], chosen=chosen_outcome(report, model.id))
