"""The choice on val: the fastest file that keeps the limits, of those as fast the smaller, of those the better.

And the verdict on test: pass, fail, or neither where nothing was asked for.
"""

from collections.abc import Sequence
from typing import Literal

import pytest

from edgekd.report.fitting import Budget, check, missed
from edgekd.report.page.budget import budget_lines
from edgekd.report.schema import Drift, ModelReport, Paired, Ratio, Verdict
from edgekd.report.verdict import Faster, best_on_val, choose, unbeaten
from edgekd.training.significance import mcnemar_p
from tests.report.samples import sample_report

BASE = sample_report().models[0]
VAL_IMAGES, RIGHT, ALIKE = 1000, 900, (0.9, 1.1)


def model(
    name: str,
    drop: float,
    size: float,
    latency: float,
    *,
    on_val: float | None = None,
    changed: int = 50,
    stage: str = "distill",
) -> ModelReport:
    """A file with these figures of the teacher's; ``drop`` on test, and on val unless ``on_val`` is given.

    ``changed`` images of val each it gets right alone, and the teacher alone, beside those that make the drop.
    """
    lost = round(VAL_IMAGES * (drop if on_val is None else on_val))
    only_teacher, only_model = changed + max(lost, 0), changed + max(-lost, 0)
    on_val_images = Paired(
        both=RIGHT - only_teacher,
        only_teacher=only_teacher,
        only_model=only_model,
        neither=VAL_IMAGES - RIGHT - only_model,
        p_value=mcnemar_p(only_teacher, only_model),
    )
    return BASE.model_copy(
        update={
            "id": name,
            "stage": stage,
            "accuracy_drop": drop,
            "val_paired": on_val_images,
            "size_ratio": size,
            "size_bytes": round(size * 1e6),
            "latency_ratio": Ratio(ratio=latency, ci95=(latency * 0.99, latency * 1.01)),
            "latency_ms": BASE.latency_ms.model_copy(update={"p50": latency}),
        }
    )


TEACHER = model("teacher", 0, 1, 1, stage="teacher", changed=0)


def ratios(models: Sequence[ModelReport], *alike: set[str]) -> Faster:
    """As the latencies say, within 1 %; files of one set show no difference."""
    latency = {file.id: file.latency_ms.p50 for file in models}

    def ratio(one: str, other: str) -> tuple[float, tuple[float, float]]:
        if any({one, other} <= group for group in alike):
            return 1.0, ALIKE
        found = latency[one] / latency[other]
        return found, (found * 0.99, found * 1.01)

    return ratio


def paired(*faster: tuple[str, str]) -> Faster:
    """The first file of each pair is measurably faster than the second; there is no other difference."""

    def ratio(one: str, other: str) -> tuple[float, tuple[float, float]]:
        return (
            (0.8, (0.7, 0.9))
            if (one, other) in faster
            else (1.25, (1.1, 1.4))
            if (other, one) in faster
            else (1, ALIKE)
        )

    return ratio


BUDGET = Budget(accuracy_drop=0.01, size_ratio=0.5, latency_ratio=0.5)


def test_the_fastest_of_those_that_keep_the_whole_budget_is_chosen() -> None:
    models = [TEACHER, model("big", 0, 0.4, 0.4), model("fast", 0.01, 0.5, 0.2), model("wrong", 0.02, 0.1, 0.1)]

    choice = choose(models, BUDGET, ratios(models))

    assert choice.recommended == "fast"
    assert choice.verdict.outcome == "pass"
    assert choice.verdict.reason == (
        "It is the fastest of the 2 files beside teacher that keep the whole budget on val. "
        "On test it keeps the budget."
    )


def test_where_no_difference_was_measured_the_smaller_is_chosen() -> None:
    models = [TEACHER, model("small", 0, 0.2, 0.21), model("fast", 0, 0.4, 0.20), model("smallest", 0, 0.1, 0.4)]

    choice = choose(models, BUDGET, ratios(models, {"small", "fast"}))

    assert choice.recommended == "small"
    assert "(no difference measured in latency to fast)" in choice.verdict.reason


def test_of_files_alike_in_latency_and_size_the_most_accurate_on_val_is_chosen_whatever_test_says() -> None:
    models = [
        TEACHER,
        model("few bytes less", -0.01, 0.1, 0.2, on_val=0.0),
        model("better on val", 0, 0.101, 0.2, on_val=-0.02),
        model("larger", 0, 0.102, 0.2, on_val=-0.03),
        model("slower", 0, 0.1, 0.3, on_val=-0.03),
    ]

    choice = choose(models, BUDGET, ratios(models, {"few bytes less", "better on val", "larger"}))

    assert choice.recommended == "better on val"
    assert choice.verdict.reason == (
        "Among the fastest and smallest of the 4 files beside teacher that keep the whole budget on val none is more "
        "accurate there (no difference measured in latency to few bytes less, sizes within 1 %). "
        "On test it keeps the budget."
    )


def test_files_as_accurate_on_val_too_are_told_apart_by_their_bytes() -> None:
    models = [TEACHER, model("more", 0, 0.1002, 0.2), model("less", 0, 0.1, 0.2)]

    assert choose(models, BUDGET, ratios(models, {"more", "less"})).recommended == "less"


def test_a_file_that_is_measurably_faster_stays_whatever_the_pooled_median_says() -> None:
    """By pooled p50 'slowed' is last; yet it was measurably faster than 'quick', round by round."""
    models = [
        TEACHER,
        model("quick", 0, 0.2, 0.20),
        model("slowed", 0, 0.1, 0.22),
        model("slow", 0, 0.05, 0.21),
    ]
    ratio = paired(("slowed", "quick"), ("slowed", "slow"), ("quick", "slow"))

    assert [file.id for file in unbeaten(models[1:], ratio)] == ["slowed"]
    assert choose(models, BUDGET, ratio).recommended == "slowed"


def test_a_file_that_one_other_beats_is_out_though_it_shows_no_difference_to_the_rest() -> None:
    models = [model("a", 0, 0.2, 0.3), model("b", 0, 0.1, 0.2), model("c", 0, 0.05, 0.4)]

    assert [file.id for file in unbeaten(models, paired(("a", "c")))] == ["a", "b"]


def test_ratios_that_contradict_one_another_all_round_leave_the_lowest_median() -> None:
    models = [model("a", 0, 0.2, 0.3), model("b", 0, 0.1, 0.2), model("c", 0, 0.05, 0.4)]

    assert [file.id for file in unbeaten(models, paired(("a", "b"), ("b", "c"), ("c", "a")))] == ["b"]


def test_a_limit_that_is_met_exactly_is_kept() -> None:
    models = [TEACHER, model("edge", 0.01, 0.5, 0.5)]

    choice = choose(models, BUDGET, ratios(models))

    assert choice.verdict.outcome == "pass"
    assert len(choice.verdict.checks) == 3


def test_a_file_chosen_on_val_that_misses_the_budget_on_test_fails_and_no_other_takes_its_place() -> None:
    models = [TEACHER, model("lucky on val", 0.02, 0.1, 0.1, on_val=0.01), model("good on test", 0, 0.2, 0.2)]

    choice = choose(models, BUDGET, ratios(models))

    assert choice.recommended == "lucky on val"
    assert choice.verdict.outcome == "fail"
    assert choice.verdict.reason.endswith("On test it misses accuracy_drop 0.0200 (limit 0.01).")
    assert [item.passed for item in choice.verdict.checks] == [False, True, True]


def test_where_none_keeps_the_budget_on_val_test_still_judges_the_nearest() -> None:
    models = [TEACHER, model("near", 0.01, 0.1, 0.1, on_val=0.011), model("far", 0.0, 0.1, 0.1, on_val=0.03)]

    choice = choose(models, BUDGET, ratios(models))

    assert (choice.recommended, choice.verdict.outcome) == ("near", "pass")
    assert choice.verdict.reason == (
        "None of 3 files keeps the whole budget on val; this one comes nearest: accuracy_drop 0.0110 (limit 0.01). "
        "On test it keeps the budget."
    )


def test_where_none_keeps_the_budget_the_nearest_miss_is_named() -> None:
    models = [TEACHER, model("far", 0, 5.0, 0.2), model("near", 0, 0.55, 0.2)]

    choice = choose(models, BUDGET, ratios(models))

    assert choice.recommended == "near"
    assert choice.verdict.outcome == "fail"
    assert choice.verdict.reason == (
        "None of 3 files keeps the whole budget on val; this one comes nearest. "
        "On test it misses size_ratio 0.5500 (limit 0.5)."
    )


def test_without_a_budget_there_is_neither_pass_nor_fail() -> None:
    models = [TEACHER, model("good", 0.005, 0.3, 0.3), model("wrong", 0.34, 0.1, 0.1)]

    choice = choose(models, Budget(), ratios(models))

    assert (choice.recommended, choice.verdict.outcome, choice.verdict.checks) == ("good", "no budget", [])
    assert choice.verdict.reason == (
        "It is the only one of 2 files beside teacher that keeps up with teacher on val (at most 1 point below it, "
        "McNemar p ≥ 0.05). No budget was given."
    )


def test_a_student_without_a_rival_is_called_the_only_one() -> None:
    models = [TEACHER, model("student", 0.0, 0.3, 0.3)]

    assert choose(models, BUDGET, ratios(models)).verdict.reason == (
        "It is the only file beside teacher, and keeps the whole budget on val. On test it keeps the budget."
    )


def test_without_a_budget_the_smallest_of_the_fastest_that_keep_up_is_chosen() -> None:
    models = [TEACHER, model("slow", 0, 0.1, 1.0), model("fast", 0, 0.3, 0.2), model("alike", 0, 0.2, 0.21)]

    assert choose(models, Budget(), ratios(models)).recommended == "fast"
    assert choose(models, Budget(), ratios(models, {"alike", "fast"})).recommended == "alike"


@pytest.mark.parametrize(
    ("on_val", "changed", "keeps_up"),
    [(0.01, 50, True), (0.011, 50, False), (0.008, 0, False), (-0.05, 0, True), (0.0, 0, True)],
    ids=["a point, not measured", "more than a point", "less, yet measured", "measurably better", "the same"],
)
def test_keeping_up_is_a_point_at_most_and_no_measured_loss(on_val: float, changed: int, keeps_up: bool) -> None:
    models = [TEACHER, model("student", 0, 0.3, 0.3, on_val=on_val, changed=changed)]

    assert (choose(models, Budget(), ratios(models)).recommended == "student") == keeps_up


def test_without_a_budget_a_pipeline_that_can_recommend_its_teacher_alone_has_failed() -> None:
    models = [TEACHER, model("far", 0.34, 0.1, 0.1), model("near", 0.11, 0.3, 0.3)]

    choice = choose(models, Budget(), ratios(models))

    assert choice.recommended == "teacher"
    assert (choice.verdict.outcome, choice.verdict.checked) == ("fail", "near")
    assert choice.verdict.reason == (
        "No other file keeps up with teacher on val (at most 1 point below it, McNemar p ≥ 0.05) and is smaller, "
        "faster or more accurate than teacher; near comes nearest: 11.0 points below teacher on val (p < 0.001), "
        "which budget.accuracy_drop may allow."
    )


def test_a_budget_that_only_the_teacher_keeps_is_a_failure_with_the_nearest_miss() -> None:
    models = [TEACHER, model("near", 0.02, 0.5, 0.5), model("far", 0.1, 0.5, 0.5)]

    choice = choose(models, Budget(accuracy_drop=0.01), ratios(models))

    assert choice.recommended == "teacher"
    assert (choice.verdict.outcome, choice.verdict.checked) == ("fail", "near")
    assert choice.verdict.reason.endswith("near comes nearest: accuracy_drop 0.0200 (limit 0.01).")
    assert [(item.name, item.value, item.passed) for item in choice.verdict.checks] == [("accuracy_drop", 0.02, False)]


@pytest.mark.parametrize("budget", [Budget(), Budget(accuracy_drop=0.5)], ids=["no budget", "a wide one"])
def test_a_student_that_has_nothing_over_its_teacher_is_not_recommended(budget: Budget) -> None:
    models = [TEACHER, model("larger and slower", 0, 1.5, 1.2)]

    choice = choose(models, budget, ratios(models))

    assert (choice.recommended, choice.verdict.outcome) == ("teacher", "fail")
    assert "neither smaller nor measurably faster nor more accurate than teacher" in choice.verdict.reason


def test_a_student_that_is_measurably_better_need_be_neither_smaller_nor_faster() -> None:
    models = [TEACHER, model("born again", -0.05, 1.0, 1.0, changed=0)]

    assert choose(models, Budget(), ratios(models)).recommended == "born again"


def test_a_teacher_that_is_only_exported_is_no_failure() -> None:
    alone, kept = choose([TEACHER], Budget(), paired()), choose([TEACHER], Budget(accuracy_drop=0), paired())

    assert (alone.recommended, alone.verdict.outcome, alone.verdict.reason) == (
        "teacher",
        "no budget",
        "No budget was given.",
    )
    assert (kept.verdict.outcome, kept.verdict.reason) == ("pass", "On test it keeps the budget.")


@pytest.mark.parametrize(("size", "outcome"), [(0.5, "fail"), (2.0, "no budget")])
def test_a_second_network_was_meant_to_compress_where_it_is_smaller(size: float, outcome: str) -> None:
    models = [TEACHER, model("second", 0.2, size, size, stage="teacher")]

    choice = choose(models, Budget(), ratios(models))

    assert (choice.recommended, choice.verdict.outcome) == ("teacher", outcome)


def test_without_an_exported_teacher_the_first_file_is_one_of_several() -> None:
    models = [model("distill", 0, 1, 1, changed=0), model("qat", 0.05, 0.3, 0.5, stage="qat")]

    choice = choose(models, Budget(), ratios(models))

    assert (choice.recommended, choice.verdict.outcome) == ("distill", "no budget")
    assert choice.verdict.reason.startswith("It is the only one of 2 files that keeps up with distill on val")


def test_a_limit_on_size_alone_does_not_allow_any_accuracy() -> None:
    models = [TEACHER, model("wrong", 0.34, 0.05, 0.05), model("good", 0.01, 0.08, 0.3)]

    assert choose(models, Budget(size_ratio=0.1), ratios(models)).recommended == "good"


def test_a_limit_on_size_alone_fails_where_only_files_far_below_the_teacher_keep_it() -> None:
    models = [TEACHER, model("wrong", 0.34, 0.05, 0.05)]

    choice = choose(models, Budget(size_ratio=0.1), ratios(models))

    assert (choice.recommended, choice.verdict.outcome) == ("teacher", "fail")
    assert choice.verdict.reason.endswith(
        "this one comes nearest. Of the others wrong does: 34.0 points below teacher on val (p < 0.001), which "
        "budget.accuracy_drop may allow. On test it misses size_ratio 1.0000 (limit 0.1)."
    )
    allowed = choose(models, Budget(size_ratio=0.1, accuracy_drop=1), ratios(models))
    assert (allowed.recommended, allowed.verdict.outcome) == ("wrong", "pass")


def test_a_faster_file_that_breaks_one_limit_is_not_chosen_even_where_it_is_smaller_too() -> None:
    models = [TEACHER, model("kept", 0.01, 0.5, 0.5), model("broken", 0.0101, 0.1, 0.1, on_val=0.011)]

    choice = choose(models, BUDGET, ratios(models, {"kept", "broken"}))

    assert choice.recommended == "kept"
    assert choice.verdict.reason == (
        "It is the only one of 2 files beside teacher that keeps the whole budget on val. On test it keeps the budget."
    )


@pytest.mark.parametrize(("drop", "outcome"), [(-0.003, "pass"), (0.0, "pass"), (0.003, "fail")])
def test_an_accuracy_drop_of_zero_allows_no_loss_and_any_gain(drop: float, outcome: str) -> None:
    choice = choose([TEACHER, model("only", drop, 0.1, 0.1)], Budget(accuracy_drop=0), paired())

    assert choice.verdict.outcome == outcome
    assert [(item.name, item.limit, item.value) for item in choice.verdict.checks] == [("accuracy_drop", 0, drop)]


def test_a_gain_may_be_asked_for() -> None:
    same, better = ([TEACHER, model("only", drop, 0.1, 0.1)] for drop in (0.0, -0.01))

    assert choose(same, Budget(accuracy_drop=-0.01), paired()).verdict.outcome == "fail"
    assert choose(better, Budget(accuracy_drop=-0.01), paired()).verdict.outcome == "pass"


def test_every_limit_is_held_against_its_own_figure_and_only_those_that_are_given() -> None:
    found = check(model("file", 0.0, 0.3, 0.6), BUDGET, 0.02)

    assert [(item.name, item.value, item.limit, item.passed) for item in found] == [
        ("accuracy_drop", 0.02, 0.01, False),
        ("size_ratio", 0.3, 0.5, True),
        ("latency_ratio", 0.6, 0.5, False),
    ]
    assert [item.name for item in check(model("file", 0.02, 0.3, 0.6), Budget(size_ratio=0.1), 0.02)] == ["size_ratio"]


def test_limits_may_be_milliseconds_and_kilobytes() -> None:
    """A file of 0.3 MB that takes 0.6 ms."""
    file = model("file", 0, 0.3, 0.6)

    found = check(file, Budget(size_kb=250, latency_ms=0.75), 0.0)

    assert [(item.name, item.value, item.passed) for item in found] == [
        ("size_kb", 300.0, False),
        ("latency_ms", 0.6, True),
    ]
    (miss,) = missed(found)
    assert miss.words == "size_kb 300.0 (limit 250)"
    assert miss.excess == pytest.approx(0.2)
    assert [line.value for line in budget_lines(Verdict(passed=False, checks=found, reason=""))] == [
        "300 kB",
        "0.60 ms",
    ]


def test_the_nearest_miss_is_the_one_whose_worst_figure_is_least_beyond_its_limit() -> None:
    """Beyond by: 0.01 of a limit of 0.01 (1.0); twice 0.4 of a limit of 0.5 (0.8); 0.6 of a limit of 0.5 (1.2)."""
    models = [TEACHER, model("wrong", 0.02, 0.1, 0.1), model("both", 0.0, 0.9, 0.9), model("big", 0.0, 1.1, 0.1)]

    choice = choose(models, BUDGET, ratios(models))

    assert choice.recommended == "both"
    assert [item.passed for item in choice.verdict.checks] == [True, False, False]
    assert choice.verdict.reason.endswith(
        "On test it misses size_ratio 0.9000 (limit 0.5) and latency_ratio 0.9000 (limit 0.5)."
    )


def test_beyond_a_limit_of_zero_is_counted_in_points() -> None:
    """0.004 too inaccurate is 0.4 of a point; 0.75 against 0.5 is half of the limit."""
    models = [TEACHER, model("big", 0.0, 0.75, 0.1), model("wrong", 0.004, 0.1, 0.1)]

    choice = choose(models, Budget(accuracy_drop=0, size_ratio=0.5), ratios(models))

    assert choice.recommended == "wrong"
    assert "accuracy_drop 0.0040 (limit 0)" in choice.verdict.reason


def drifted(file: ModelReport, kind: Literal["rounding", "saturation", "graph"]) -> ModelReport:
    found = Drift(kind=kind, images=9, total=288, largest=0.5, layers=["conv"], remedy="report the network")
    return file.model_copy(update={"drift": found})


def test_a_file_that_computes_something_else_than_torch_is_never_recommended_while_another_fits() -> None:
    best, other = model("best", 0, 0.1, 0.1), model("other", 0, 0.2, 0.2)

    files = [TEACHER, drifted(best, "graph"), other]
    rounded = [TEACHER, drifted(best, "rounding"), other]

    assert choose(files, Budget(), ratios(files)).recommended == "other"
    assert choose(rounded, Budget(), ratios(rounded)).recommended == "best"


@pytest.mark.parametrize("budget", [Budget(), Budget(size_ratio=0.5)])
def test_where_only_such_files_are_left_the_verdict_is_a_failure_that_names_the_layer(budget: Budget) -> None:
    files = [TEACHER, drifted(model("best", 0, 0.1, 0.1), "saturation")]

    choice = choose(files, budget, ratios(files))

    assert choice.verdict.outcome == "fail"
    assert "saturates in conv; report the network" in choice.verdict.reason


def test_the_best_on_val_is_what_is_recommended_and_of_misses_the_nearest() -> None:
    fits = [model("fast", 0.012, 0.3, 0.2), model("small", 0.012, 0.1, 0.2), model("slow", 0.0, 0.1, 0.4)]
    near, far = model("near", 0.02, 0.1, 0.2), model("far", 0.09, 0.1, 0.1)
    budget = Budget(accuracy_drop=0.015)

    best = best_on_val([*fits, near, far], budget, TEACHER, ratios([*fits, near, far], {"fast", "small"}))

    assert best.id == "small"
    assert (
        best.id
        == choose(
            [TEACHER, *fits, near, far], budget, ratios([TEACHER, *fits, near, far], {"fast", "small"})
        ).recommended
    )
    assert best_on_val([far, near], budget, TEACHER, ratios([far, near])).id == "near"
