"""What a report says of its devices, in words, in a terminal as on a page."""

from edgekd.report import wording as w
from edgekd.report.schema import DeviceModel, DeviceReport

UNKNOWN = "not known"


def device_facts(device: DeviceReport) -> dict[str, str]:
    """What measured, and what it went through meanwhile."""
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
    """What a reader must not overlook, a sentence each."""
    slowed = "The clock was lowered while it measured: at its full clock it is faster."
    return [*([slowed] if device.throttled else []), *device.warnings]


def relative_words(model: DeviceModel) -> str:
    """Latency divided by the teacher's on the same device, with its interval."""
    return f"{w.ratio(model.latency_ratio.ratio)} {w.ratio_interval(model.latency_ratio)}"
