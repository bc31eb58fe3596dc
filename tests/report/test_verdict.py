"""The choice: the fastest file that keeps the whole budget; of those as fast the smaller, of those the better."""

import pytest

from edgekd.report.schema import ModelReport, Ratio
from edgekd.report.verdict import Budget, Faster, check, choose
from tests.report.samples import sample_report

BASE = sample_report().models[0]


def model(name: str, drop: float, size: float, latency: float, on_val: float | None = None) -> ModelReport:
    changes = {
        "id": name,
        "accuracy_drop": drop,
        "size_ratio": size,
        "size_bytes": round(size * 1e6),
        "val_accuracy": on_val,
    }
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


def test_of_files_alike_in_latency_and_size_the_most_accurate_on_val_is_chosen_whatever_test_says() -> None:
    models = [
        model("few bytes less", -0.01, 0.1, 0.2, on_val=0.93),
        model("better on val", 0, 0.101, 0.2, on_val=0.95),
        model("larger", 0, 0.102, 0.2, on_val=0.99),
        model("slower", 0, 0.1, 0.3, on_val=0.99),
    ]

    choice = choose(models, BUDGET, ratios({"few bytes less", "better on val", "larger"}))

    assert choice.recommended == "better on val"
    assert choice.verdict.reason == (
        "Among the fastest and smallest of the 4 files that keep the whole budget none is more accurate on val "
        "(no difference measured in latency to few bytes less, sizes within 1 %)."
    )


def test_files_as_accurate_on_val_too_are_told_apart_by_their_bytes() -> None:
    models = [model("more", 0, 0.1002, 0.2, on_val=0.9), model("less", 0, 0.1, 0.2, on_val=0.9)]

    assert choose(models, BUDGET, ratios({"more", "less"})).recommended == "less"


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


def test_without_a_budget_the_smallest_of_the_fastest_is_chosen() -> None:
    models = [model("slow", 0, 0.1, 1.0), model("fast", 0.5, 3.0, 0.2), model("alike", 0.5, 2.0, 0.21)]

    assert choose(models, Budget(), ratios()).recommended == "fast"
    assert choose(models, Budget(), ratios({"alike", "fast"})).recommended == "alike"


def test_a_faster_file_that_breaks_one_limit_is_not_chosen_even_where_it_is_smaller_too() -> None:
    models = [model("kept", 0.01, 0.5, 0.5), model("broken", 0.0101, 0.1, 0.1)]

    choice = choose(models, BUDGET, ratios({"kept", "broken"}))

    assert choice.recommended == "kept"
    assert choice.verdict.reason == "It is the only file that keeps the whole budget."


def test_the_files_are_compared_with_the_fastest_one_in_turn() -> None:
    asked = list[tuple[str, str]]()

    def ratio(one: str, other: str) -> tuple[float, tuple[float, float]]:
        asked.append((one, other))
        return 1.5, (1.0, 2.0)  # an interval that ends at 1 covers it

    models = [model("a", 0, 0.2, 0.3), model("b", 0, 0.1, 0.2), model("c", 0, 0.05, 0.4)]

    assert choose(models, BUDGET, ratio).recommended == "c"
    assert asked == [("a", "b"), ("c", "b")]


@pytest.mark.parametrize(("drop", "passed"), [(-0.003, True), (0.0, True), (0.003, False)])
def test_an_accuracy_drop_of_zero_allows_no_loss_and_any_gain(drop: float, passed: bool) -> None:
    choice = choose([model("only", drop, 0.1, 0.1)], Budget(accuracy_drop=0), ratios())

    assert choice.verdict.passed == passed
    assert [(item.name, item.limit, item.value, item.passed) for item in choice.verdict.checks] == [
        ("accuracy_drop", 0, drop, passed)
    ]


def test_a_gain_may_be_asked_for() -> None:
    assert not choose([model("only", 0.0, 0.1, 0.1)], Budget(accuracy_drop=-0.01), ratios()).verdict.passed
    assert choose([model("only", -0.01, 0.1, 0.1)], Budget(accuracy_drop=-0.01), ratios()).verdict.passed


def test_every_limit_is_held_against_its_own_figure_and_only_those_that_are_given() -> None:
    found = check(model("file", 0.02, 0.3, 0.6), BUDGET)

    assert [(item.name, item.value, item.limit, item.passed) for item in found] == [
        ("accuracy_drop", 0.02, 0.01, False),
        ("size_ratio", 0.3, 0.5, True),
        ("latency_ratio", 0.6, 0.5, False),
    ]
    assert [item.name for item in check(model("file", 0.02, 0.3, 0.6), Budget(size_ratio=0.1))] == ["size_ratio"]


def test_the_nearest_miss_is_the_one_whose_worst_figure_is_least_beyond_its_limit() -> None:
    """Beyond by: 0.01 of a limit of 0.01 (1.0); twice 0.4 of a limit of 0.5 (0.8); 0.6 of a limit of 0.5 (1.2)."""
    models = [model("wrong", 0.02, 0.1, 0.1), model("both", 0.0, 0.9, 0.9), model("big", 0.0, 1.1, 0.1)]

    choice = choose(models, BUDGET, ratios())

    assert choice.recommended == "both"
    assert choice.verdict.reason.startswith("None of 3 files keeps the whole budget; this one misses it by")
    assert [item.passed for item in choice.verdict.checks] == [True, False, False]


def test_beyond_a_limit_of_zero_is_counted_in_points() -> None:
    """0.004 too inaccurate is 0.4 of a point; 0.75 against 0.5 is half of the limit."""
    models = [model("big", 0.0, 0.75, 0.1), model("wrong", 0.004, 0.1, 0.1)]

    choice = choose(models, Budget(accuracy_drop=0, size_ratio=0.5), ratios())

    assert choice.recommended == "wrong"
    assert "accuracy_drop 0.0040 (limit 0)" in choice.verdict.reason
