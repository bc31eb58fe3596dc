"""The budget: each limit, the file's value, and the share of the limit used."""

from dataclasses import dataclass

from edgekd.report import wording as w
from edgekd.report.schema import Check, Verdict


@dataclass(frozen=True)
class BudgetLine:
    """One limit, in words; ``used_percent``: 0..100, of the limit."""

    name: str
    limit: str
    value: str
    used_percent: int
    passed: bool


def budget_lines(verdict: Verdict) -> list[BudgetLine]:
    """One for each check."""
    return [_line(check) for check in verdict.checks]


def _line(check: Check) -> BudgetLine:
    used = min(max(check.value / check.limit, 0), 1) if check.limit > 0 else float(not check.passed)
    limit, value = (_amount(check.name, amount) for amount in (check.limit, check.value))
    return BudgetLine(check.name, limit, value, round(100 * used), check.passed)


def _amount(name: str, value: float) -> str:
    match name:
        case "accuracy_drop":
            return f"{w.minus(w.points(value, 2).lstrip('+'))} points"
        case "size_kb":
            return f"{w.kilobytes(round(1000 * value))} kB"
        case "latency_ms":
            return f"{w.milliseconds(value)} ms"
    return w.ratio(value)
