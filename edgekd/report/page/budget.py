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
    if name != "accuracy_drop":
        return w.ratio(value)
    return f"{w.minus(w.points(value, 2).lstrip('+'))} points"
