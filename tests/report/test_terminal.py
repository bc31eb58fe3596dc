"""The table in a terminal."""

import io
from typing import Literal

import pytest
from rich.console import Console

from edgekd.report.schema import Latency, Ratio, Report, Verdict
from edgekd.report.terminal import render_table
from tests.report.samples import (
    sample_alarming_report,
    sample_failed_report,
    sample_model,
    sample_report,
    sample_unjudged_report,
    sample_unlearned_report,
)


def printed(report: Report, width: int = 120, *, colours: bool = False) -> str:
    output = io.StringIO()
    system: Literal["standard"] | None = "standard" if colours else None
    Console(file=output, width=width, color_system=system, force_terminal=colours).print(render_table(report))
    return output.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_verdict_and_its_reason_come_first() -> None:
    first = printed(sample_report()).splitlines()[0]

    assert first.startswith("PASS  qat (model.onnx) is recommended: The smallest of the files")


def test_a_missed_budget_names_the_nearest_file_and_the_miss() -> None:
    first = printed(sample_failed_report()).splitlines()[0]

    assert first.startswith("FAIL  qat (model.onnx) is chosen: latency_ratio is 0.98, the limit 0.5.")


def test_without_a_budget_the_first_word_is_neither_pass_nor_fail() -> None:
    first = printed(sample_unjudged_report()).splitlines()[0]

    assert first == "NO BUDGET  qat (model.onnx) is recommended: No budget was given."


def test_a_recommended_file_far_below_its_teacher_is_told_in_red_though_the_budget_is_kept() -> None:
    text = printed(sample_alarming_report(), colours=True)

    assert "PASS" in text
    assert "\x1b[1;31mwarning: qat lies 38.6 points below teacher on test (95 % interval [33.3, 43.9]).\x1b[0m" in text
    assert "warning" not in printed(sample_report())


def test_every_figure_of_a_file_is_shown_at_120_columns() -> None:
    lines = printed(sample_report()).splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith(" > qat"))

    assert words(lines[row]) == "> qat 98.9 % -0.3 684 0.53 25.4 M 64 / 0 99.7 %"
    assert words(lines[row + 1]) == "int8 [97.1, 99.7] [-2.2, 1.5] 0.077 0.33 [0.32, 0.34] 595 k"
    assert words(lines[row + 2]) == "p = 1.00"


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_console_and_no_figure_is_cut(width: int) -> None:
    text = printed(sample_report(), width)

    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "0.33 [0.32, 0.34]" in text


def test_a_narrow_console_leaves_out_what_decides_least() -> None:
    narrow, wide = printed(sample_report(), 80), printed(sample_report(), 120)

    assert "int/float" in narrow
    assert "agreement" in wide
    assert "agreement" not in narrow
    assert "kernels" in narrow


def test_an_interval_that_covers_1_says_no_difference_measured() -> None:
    model = sample_model("qat").model_copy(update={"latency_ratio": Ratio(ratio=0.97, ci95=(0.93, 1.02))})
    text = printed(sample_report().model_copy(update={"models": [sample_report().models[0], model], "notes": []}), 200)

    assert "no difference measured" in words(text)
    assert "faster" not in text.partition("\n")[2]


def test_an_interval_without_1_claims_a_difference() -> None:
    assert "no difference" not in printed(sample_report())


def test_an_integer_file_slower_than_the_float_one_is_marked() -> None:
    report = sample_report()
    teacher, distill, qat = report.models[0], report.models[2], report.models[3]
    slow = qat.model_copy(
        update={
            "latency_ms": Latency(p50=0.61, p90=0.62, p99=0.7, runs=2000),
            "source": "distill",
            "source_ratio": Ratio(ratio=1.09, ci95=(1.07, 1.11)),
        }
    )

    assert "slower than" not in printed(report)
    assert "slower than distill" in printed(report.model_copy(update={"models": [teacher, distill, slow]}))


def test_each_note_has_a_line_of_its_own() -> None:
    text = printed(sample_report().model_copy(update={"notes": ["one thing", "another"]}))

    assert [line for line in text.splitlines() if line.startswith("note: ")] == ["note: one thing", "note: another"]


def test_names_cannot_style_the_table_or_drive_the_terminal() -> None:
    hostile = "[red]a\x1b[2Jb\u202ec\nd"
    verdict = Verdict.model_validate({"pass": True, "checks": [], "reason": hostile})
    model = sample_model("qat").model_copy(update={"id": hostile, "file": hostile})
    report = sample_report().model_copy(
        update={"verdict": verdict, "models": [model], "recommended": hostile, "notes": [hostile]}
    )
    text = printed(report)

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "note: [red]a\ufffd[2Jb\ufffdc d" in text.splitlines()


def test_a_recommended_file_that_never_answers_a_class_is_told_in_red() -> None:
    text = printed(sample_unlearned_report(), colours=True)

    assert "\x1b[1;31mwarning: qat never answers 9 of the 10 classes of test: 1, 2, 3 and 6 more." in text


def test_balanced_accuracy_stands_beside_accuracy_where_the_classes_are_uneven() -> None:
    assert "balanced 10.0 %" in words(printed(sample_unlearned_report()))
    assert "balanced" not in printed(sample_report())
