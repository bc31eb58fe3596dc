"""The large figures at the top: the recommended file beside the teacher."""

from dataclasses import dataclass

from edgekd.report import wording as w
from edgekd.report.roles import integer_share, recommended_of, teacher_of
from edgekd.report.schema import ModelReport, Report
from edgekd.training.significance import SIGNIFICANT


@dataclass(frozen=True)
class Card:
    """One large figure, its unit beside, details below."""

    label: str
    figure: str
    unit: str
    details: tuple[str, ...]


def cards(report: Report) -> list[Card]:
    """Size, latency, accuracy and integer kernels of the file that ships."""
    model, teacher = recommended_of(report), teacher_of(report)
    if model is None or teacher is None:
        return []
    return [_size(model, teacher), _latency(model, teacher), _accuracy(model, teacher), _kernels(model)]


def _size(model: ModelReport, teacher: ModelReport) -> Card:
    sizes = f"{w.kilobytes(model.size_bytes)} kB of {w.kilobytes(teacher.size_bytes)} kB"
    if model == teacher:
        return Card("Size", "1×", " the teacher itself", (sizes,))
    larger = model.size_ratio > 1
    factor = model.size_ratio if larger else 1 / model.size_ratio
    return Card("Size", f"{w.times(factor)}×", " larger" if larger else " smaller", (sizes,))


def _latency(model: ModelReport, teacher: ModelReport) -> Card:
    p50 = f"p50 {w.milliseconds(model.latency_ms.p50)} ms of {w.milliseconds(teacher.latency_ms.p50)} ms"
    if model == teacher:
        return Card("Latency", "1×", " the teacher itself", (p50,))
    speedup, faster = model.speedup, model.speedup.ratio > 1
    interval = f"95 % interval {w.ratio(speedup.ci95[0])} to {w.ratio(speedup.ci95[1])}"
    if not speedup.measured:
        return Card("Latency", w.NO_DIFFERENCE, "", (p50, f"speedup {w.ratio(speedup.ratio)}", interval))
    factor = speedup.ratio if faster else 1 / speedup.ratio
    return Card("Latency", f"{w.times(factor)}×", " faster" if faster else " slower", (p50, interval))


def _accuracy(model: ModelReport, teacher: ModelReport) -> Card:
    low, high = model.accuracy_ci95
    against = () if model == teacher else (_drop_words(model), _significance(model))
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return Card("Accuracy", w.percent(model.accuracy).removesuffix(" %"), " %", (*against, interval))


def _drop_words(model: ModelReport) -> str:
    points = w.points(abs(model.accuracy_drop)).lstrip("+")
    if points == "0.0":
        return "level with the teacher"
    return f"{points} points {'below' if model.accuracy_drop > 0 else 'above'} the teacher"


def _significance(model: ModelReport) -> str:
    p, ci95 = model.paired.p_value, model.accuracy_drop_ci95
    words = f"McNemar {w.p_value(p)}" if p < SIGNIFICANT else w.NO_DIFFERENCE
    return words if ci95 is None else f"{words}, drop {w.minus(w.points_interval(ci95))}"


def _kernels(model: ModelReport) -> Card:
    share = integer_share(model)
    total = model.kernels.integer + model.kernels.float
    figure = "none" if share is None else "100" if share == 1 else w.percent(share).removesuffix(" %")
    kept = (w.PTQ_KEPT,) if model.trained_in_vain else ()
    unit = "" if share is None else " %"
    return Card("Integer kernels", figure, unit, (f"{model.kernels.integer} of {total} kernels", *kept))
