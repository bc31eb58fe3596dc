"""Formats figures: units, rounding, intervals; and makes untrusted text safe to show."""

from collections.abc import Sequence

from edgekd.ondevice.sizes import Size, size_in_words
from edgekd.report.schema import Drift, ModelReport, Ratio

NO_DIFFERENCE = "no difference measured"
PTQ_KEPT = "ptq kept, qat did not beat it"
# Invisible, yet part of Persian words and of emoji.
_JOINERS = "\u200c\u200d"


def plain(value: object) -> str:
    """Text on one line: white space becomes a space, other control or invisible characters U+FFFD."""
    return "".join(_printable(character) for character in str(value))


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage; only 1 itself is shown as 100 %.

    >>> percent(0.98889), percent(0.99999), percent(1.0)
    ('98.9 %', '99.9 %', '100.0 %')
    """
    largest = 100.0 if share >= 1 else 100 - 10**-digits
    return f"{min(100 * share, largest):.{digits}f} %"


def percent_interval(ci95: tuple[float, float]) -> str:
    return f"[{100 * ci95[0]:.1f}, {100 * ci95[1]:.1f}]"


def points(share: float, digits: int = 1) -> str:
    """A difference of two shares in percentage points, signed unless it rounds to nothing.

    >>> points(0.0123), points(-0.0028), points(-0.0001)
    ('+1.2', '-0.3', '0.0')
    """
    text = f"{100 * share:+.{digits}f}"
    return text if float(text) else text[1:]


def points_interval(ci95: tuple[float, float]) -> str:
    """An interval of a difference, in percentage points.

    >>> points_interval((-0.0123, 0.0004))
    '[-1.2, 0.0]'
    """
    return f"[{', '.join(points(bound).lstrip('+') for bound in ci95)}]"


def minus(text: str) -> str:
    """A number with a minus sign as a page has it."""
    return text.replace("-", "−")


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.095 else f"p = {p:.2f}"


def kilobytes(size_bytes: int) -> str:
    """Thousands of bytes with a comma every three digits, without the unit."""
    return f"{size_bytes / 1000:,.0f}" if size_bytes >= 10_000 else f"{size_bytes / 1000:.1f}"


def milliseconds(latency_ms: float) -> str:
    """Three significant digits, without the unit."""
    decimals = 3 if latency_ms < 0.1 else 2 if latency_ms < 10 else 1 if latency_ms < 100 else 0
    return f"{latency_ms:.{decimals}f}"


def images_at(name: str, size: Size) -> str:
    """A dataset and the size of its images."""
    return f"{name} at {size_in_words(size)} pixels"


def count(number: int) -> str:
    """A large count with a decimal prefix.

    >>> count(2_236_682), count(940), count(25_400_000)
    ('2.24 M', '940', '25.4 M')
    """
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{_three_digits(number / size)} {prefix}"
    return str(number)


def seconds(duration: float) -> str:
    """A duration from milliseconds to hours.

    >>> seconds(0.3), seconds(76.2), seconds(3725)
    ('0.3 s', '1 min 16 s', '1 h 2 min')
    """
    if duration < 60:
        return f"{duration:.1f} s" if duration < 10 else f"{duration:.0f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def ratio_with_interval(measured: Ratio) -> str:
    """A measured ratio and its 95 % interval."""
    return f"{ratio(measured.ratio)} [{ratio(measured.ci95[0])}, {ratio(measured.ci95[1])}]"


def times(factor: float) -> str:
    """How many times; two decimals close to 1, so that 1.04 is not shown as 1.0."""
    return f"{factor:.{2 if factor < 2 else 1 if factor < 100 else 0}f}"


def numbers_of(model: ModelReport) -> str:
    """Which numbers a file holds, and where they come from if that is not what its stage was for."""
    return f"{model.precision}: {PTQ_KEPT}" if model.trained_in_vain else model.precision


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def drift(found: Drift) -> str:
    """What parts a file from torch, in figures."""
    figures = f"{found.images} of {found.total} images of val (logits differ by {found.largest:.2g} at most)"
    if found.kind == "rounding":
        return f"rounding alone turns its answer on {figures}: every layer is right to a rounding step"
    why = "this CPU's integer multiply saturates" if found.kind == "saturation" else "the file computes something else"
    return f"it answers otherwise than torch on {figures}: {why} in {listed(found.layers[:3])}; {found.remedy}"


def _printable(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if character.isspace() else "\ufffd"


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"
