"""The comparison's page: safe, self-contained, whole, and without empty sections."""

import re
from pathlib import Path

import pytest

from edgekd.errors import ReportError
from edgekd.report.compare.comparison import Comparison, compare
from edgekd.report.compare.page import render_comparison_html, write_comparison_html
from edgekd.report.schema import Report
from tests.brief import plots_as_users_have_them
from tests.report.compare.made_up import made_up_report, made_up_run
from tests.report.page.test_report_page import HOSTILE, Page
from tests.report.samples import sample_device


def compared(*reports: Report) -> Comparison:
    return compare([made_up_run(report) for report in reports])


@pytest.fixture(scope="module")
def sample_page() -> str:
    """Three runs, two of them on a device, one measured on another CPU; two settings differ."""
    with plots_as_users_have_them():
        return render_comparison_html(
            compared(
                made_up_report("a", 0.989, 683_529, 0.53, devices=(sample_device("pi", 3.4),), seed=1),
                made_up_report("b", 0.9, 95_000, 0.31, devices=(sample_device("pi", 1.9),)),
                made_up_report(
                    "c", 0.95, 383_000, 0.2, target={"cpu": "Z80"}, stages={"distill": {"temperature": 2.0}}
                ),
            )
        )


@pytest.fixture(scope="module")
def hostile_page() -> str:
    """Every name chosen by an enemy."""
    device = sample_device(HOSTILE).model_copy(update={"cpu": HOSTILE, "onnxruntime": HOSTILE})
    reports = [
        made_up_report(
            f"{HOSTILE}{name}",
            devices=(device,),
            target={"cpu": HOSTILE, "onnxruntime": HOSTILE},
            data={"name": HOSTILE},
            stages={"distill": {HOSTILE: f"{HOSTILE}{name}"}},
        )
        for name in ("a", "b")
    ]
    with plots_as_users_have_them():
        return render_comparison_html(compared(*reports, made_up_report("c")))


def test_tags_balance(sample_page: str, hostile_page: str) -> None:
    assert Page(sample_page).open == []
    assert Page(hostile_page).open == []


def test_the_page_needs_no_script_and_no_network(sample_page: str) -> None:
    page = Page(sample_page)

    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert all(value.startswith("#") for name, value in page.attributes if name in ("href", "src", "xlink:href"))
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", sample_page)


def test_ids_within_the_page_are_unique(sample_page: str) -> None:
    ids = [value for name, value in Page(sample_page).attributes if name == "id"]

    assert ids
    assert len(ids) == len(set(ids))


def test_names_are_shown_as_text_wherever_they_stand(sample_page: str, hostile_page: str) -> None:
    page = Page(hostile_page)

    assert set(page.tags) <= set(Page(sample_page).tags)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", hostile_page)
    assert page.text.count("<script>alert('x')</script>\ufffd[31m\ufffd\ufffd") > 10


def test_every_section_has_data_in_the_sample(sample_page: str) -> None:
    assert Page(sample_page).headings == [
        "Runs",
        "Accuracy against size and latency",
        "Differences in accuracy",
        "Settings that differ",
        "Where latency was measured",
        "How to read it",
    ]


def test_the_best_of_those_that_may_be_compared_come_first(sample_page: str) -> None:
    text = Page(sample_page).text

    assert "Among those that may be compared in every figure: a, b." in text
    assert (
        "Most accurate 98.9 % a a measured difference to every other Smallest 95 kB b Lowest latency 0.31 ms b" in text
    )
    assert "On the Pareto front 2 of 2 a, b" in text


def test_runs_that_are_equally_small_in_the_digits_shown_are_both_named() -> None:
    text = Page(
        render_comparison_html(compared(made_up_report("a", size_bytes=94_970), made_up_report("b", size_bytes=94_985)))
    ).text

    assert "Smallest 95 kB a, b" in text


def test_size_is_drawn_for_the_same_images_and_latency_for_the_same_place(sample_page: str) -> None:
    page = Page(sample_page)

    drawn = [value for name, value in page.attributes if name == "aria-label"]

    assert [label.partition(",")[0] for label in drawn] == ["Size", "Latency on the host", "Latency on pi"]


def test_pairs_and_settings_stand_in_tables(sample_page: str) -> None:
    text = Page(sample_page).text

    assert "a b +8.9 32 0 p < 0.001 a" in text
    assert "setting that differs a b c seed 1 0 0 distill.temperature 4.0 4.0 2.0" in text


def test_what_is_not_compared_is_said_with_its_reason(sample_page: str) -> None:
    text = Page(sample_page).text

    assert (
        "c was measured on another CPU (Z80, a on AMD EPYC 7763 64-Core Processor): latencies are not compared" in text
    )
    assert "not interleaved with one another; to compare them paired: edgekd bench exports/a exports/b" in text


def test_runs_that_cannot_be_compared_at_all_have_neither_cards_nor_plots() -> None:
    other = {"fingerprint": "x", "test_fingerprint": "cd" * 32}
    page = Page(render_comparison_html(compared(made_up_report("a"), made_up_report("b", data=other))))

    assert "svg" not in page.tags
    assert "Most accurate" not in page.text
    assert page.headings[:2] == ["Runs", "Settings that differ"]


@pytest.mark.usefixtures("real_plots")
def test_one_broken_run_does_not_flatten_the_plot() -> None:
    reports = [made_up_report(name, accuracy, 7_000_000) for name, accuracy in (("a", 0.97), ("b", 0.98), ("c", 0.1))]
    text = render_comparison_html(compared(*reports))

    assert "c, off the scale at 10.0 %" in text
    assert ">96</text>" in text
    assert ">20</text>" not in text


def test_the_same_comparison_gives_the_same_bytes() -> None:
    one, two = (render_comparison_html(compared(made_up_report("a"), made_up_report("b"))) for _ in range(2))

    assert one == two


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be written"):
        write_comparison_html(tmp_path / "none" / "page.html", compared(made_up_report("a"), made_up_report("b")))
