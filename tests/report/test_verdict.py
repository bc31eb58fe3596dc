"""The choice: the fastest file that keeps the whole budget; where no difference was measured, the smaller."""

from edgekd.report.schema import ModelReport, Ratio
from edgekd.report.verdict import Budget, Faster, choose
from tests.report.samples import sample_report

BASE = sample_report().models[0]


def model(name: str, drop: float, size: float, latency: float) -> ModelReport:
    changes = {"id": name, "accuracy_drop": drop, "size_ratio": size, "size_bytes": int(size * 1e6)}
    ratio = Ratio(ratio=latency, ci95=(latency * 0.99, latency * 1.01))
    return BASE.model_copy(
        update={**changes, "latency_ratio": ratio, "latency_ms": BASE.latency_ms.model_copy(update={"p50": latency})}
    )


def ratios(*alike: set[str]) -> Faster:
    """Files of one set show no difference; all others do."""

    def ratio(one: str, other: str) -> tuple[float, tuple[float, float]]:
        return (1.0, (0.9, 1.1)) if any({one, other} <= group for group in alike) else (2.0, (1.9, 2.1))

    return ratio


BUDGET = Budget(accuracy_drop=0.01, size_ratio=0.5, latency_ratio=0.5)


def test_the_fastest_of_those_that_keep_the_whole_budget_is_chosen() -> None:
    models = [model("big", 0, 0.4, 0.4), model("fast", 0.01, 0.5, 0.2), model("wrong", 0.02, 0.1, 0.1)]

    choice = choose(models, BUDGET, ratios())

    assert choice.recommended == "fast"
    assert choice.verdict.passed
    assert "fastest of the 2 files" in choice.verdict.reason


def test_where_no_difference_was_measured_the_smaller_is_chosen() -> None:
    models = [model("small", 0, 0.2, 0.21), model("fast", 0, 0.4, 0.20), model("smallest", 0, 0.1, 0.4)]

    choice = choose(models, BUDGET, ratios({"small", "fast"}))

    assert choice.recommended == "small"
    assert "no difference measured" in choice.verdict.reason


def test_a_limit_that_is_met_exactly_is_kept() -> None:
    choice = choose([model("edge", 0.01, 0.5, 0.5)], BUDGET, ratios())

    assert choice.verdict.passed
    assert len(choice.verdict.checks) == 3


def test_where_none_keeps_the_budget_the_nearest_miss_is_named() -> None:
    models = [model("far", 0, 5.0, 0.2), model("near", 0, 0.55, 0.2)]

    choice = choose(models, BUDGET, ratios())

    assert choice.recommended == "near"
    assert not choice.verdict.passed
    assert "size_ratio 0.5500 (limit 0.5)" in choice.verdict.reason


def test_without_a_budget_every_file_fits() -> None:
    choice = choose([model("only", 0.9, 9.0, 9.0)], Budget(), ratios())

    assert (choice.recommended, choice.verdict.passed, choice.verdict.checks) == ("only", True, [])
