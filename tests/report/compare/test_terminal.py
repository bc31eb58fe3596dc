"""The comparison in a terminal."""

import io

import pytest
from rich.console import Console

from edgekd.report.compare.comparison import Comparison, compare
from edgekd.report.compare.terminal import MOST_PAIRS, render_comparison
from edgekd.report.schema import Report
from tests.report.compare.made_up import made_up_report, made_up_run
from tests.report.samples import sample_device


def compared(*reports: Report) -> Comparison:
    return compare([made_up_run(report) for report in reports])


def printed(comparison: Comparison, width: int = 120) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(render_comparison(comparison))
    return output.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_figure_of_a_run_stands_in_its_row() -> None:
    first = made_up_report("a", 0.989, 683_529, 0.53, devices=(sample_device("pi", 3.4),))
    lines = printed(compared(first, made_up_report("b"))).splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith(" a "))

    assert words(lines[row]) == "a 98.9 % 684 0.53 3.40 25.4 M host: on the front"
    assert words(lines[row + 1]) == "qat [97.1, 99.7] p99 0.64 p99 4.76 595 k pi: not compared"


def test_a_pair_without_a_significant_difference_says_no_difference_measured() -> None:
    lines = printed(compared(made_up_report("a", 0.98), made_up_report("b", 0.981))).splitlines()

    assert any(words(line) == "a b 0.0 0 0 p = 1.00 no difference measured" for line in lines)


def test_a_pair_with_a_significant_difference_names_the_better() -> None:
    lines = printed(compared(made_up_report("a", 0.9), made_up_report("b", 0.99))).splitlines()

    assert any(words(line) == "a b -8.9 0 32 p < 0.001 b" for line in lines)


def test_only_the_settings_that_differ_have_rows() -> None:
    text = words(printed(compared(made_up_report("a", seed=7), made_up_report("b"))))

    assert "setting that differs a b" in text
    assert "seed 7 0" in text
    assert "distill.temperature" not in text


def test_the_same_settings_are_said_to_be_the_same() -> None:
    assert "The settings are the same in all runs." in printed(compared(made_up_report("a"), made_up_report("b")))


def test_what_is_not_compared_is_said_below_the_tables() -> None:
    lines = printed(compared(made_up_report("a"), made_up_report("b", target={"cpu": "Z80"})), 200).splitlines()

    assert lines[-1].startswith("note: b was measured on another CPU (Z80, a on AMD EPYC 7763")
    assert sum("group" in line for line in lines) == 2


def test_runs_that_cannot_be_compared_stand_apart() -> None:
    other = made_up_report("c", target={"cpu": "Z80"})
    runs = printed(compared(made_up_report("a"), other, made_up_report("b"))).partition("first - second")[0]
    lines = runs.splitlines()
    rows = {line.split()[0]: index for index, line in enumerate(lines) if line.startswith((" a ", " b ", " c "))}

    assert list(rows) == ["a", "b", "c"]
    assert not lines[rows["c"] - 1].strip()
    assert lines[rows["b"] - 1].strip()


@pytest.mark.parametrize(("passed", "word"), [(False, "FAIL"), (None, "no budget")])
def test_a_verdict_that_is_no_pass_is_marked(passed: bool | None, word: str) -> None:
    report = made_up_report("a")
    judged = report.model_copy(update={"verdict": report.verdict.model_copy(update={"passed": passed})})

    assert printed(compared(judged, made_up_report("b"))).count(word) == 1
    assert word not in printed(compared(report, made_up_report("b")))


def test_of_many_pairs_those_with_the_most_accurate_run_are_shown() -> None:
    accuracies = (0.9, 0.91, 0.99, 0.92, 0.93, 0.94)
    comparison = compared(*(made_up_report(f"r{i}", accuracy) for i, accuracy in enumerate(accuracies)))
    text = printed(comparison)

    assert len(comparison.pairs) == 15 > MOST_PAIRS
    assert "5 of 15 pairs; all are in --json and in the page" in text
    assert sum(line.rstrip().endswith("p < 0.001   r2") for line in text.splitlines()) == 5


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_console(width: int) -> None:
    reports = [made_up_report(f"mobilenet-{name}", devices=(sample_device(),)) for name in ("half", "quarter")]
    text = printed(compared(*reports), width)

    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text


def test_names_cannot_style_the_table_or_drive_the_terminal() -> None:
    hostile = "[red]a\x1b[2Jb\u202ec\nd"
    device = sample_device(hostile)
    stages = {"distill": {hostile: hostile}}
    first = made_up_report(hostile, devices=(device,), stages=stages, target={"cpu": hostile})
    text = printed(compared(first, made_up_report("b", devices=(device,))), 300)

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]a\ufffd[2Jb\ufffdc d" in text
