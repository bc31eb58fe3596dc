"""A report's devices, on its page and in a terminal."""

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from edgekd.report.page.report_page import render_html
from edgekd.report.schema import DeviceReport, Report
from edgekd.report.terminal import render_table
from tests.report.page.test_report_page import HOSTILE, Page
from tests.report.samples import sample_device, sample_report

Shown = Callable[[Report], str]


def with_devices(*found: DeviceReport) -> Report:
    return sample_report().model_copy(update={"devices": list(found)})


def printed(report: Report, width: int = 120) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(render_table(report))
    return output.getvalue()


def page_text(report: Report) -> str:
    """Of the section on devices alone."""
    section = render_html(report).partition("<section><h2>On devices</h2>")[2].partition("</section>")[0]
    return Page(section).text


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("shown", [printed, page_text])
def test_a_device_shows_every_figure(shown: Shown) -> None:
    text = words(shown(with_devices(sample_device())))

    assert "teacher 12.0 12.6 16.8 1.00 qat 3.40 3.57 4.76 0.28 [0.27, 0.29]" in text
    for fact in (
        "Cortex-A72",
        "arm64 (aarch64)",
        "ONNX Runtime 1.32.0",
        "threads 1",
        "batch 1",
        "teacher 81 MB, qat 81 MB",
        "61 °C",
    ):
        assert fact in text
    assert "Both files answer as they did here." in text


@pytest.mark.parametrize("shown", [printed, page_text])
def test_what_a_device_warns_of_is_shown_and_a_lowered_clock_too(shown: Shown) -> None:
    device = sample_device(warnings=("qat answers 2 images otherwise",)).model_copy(update={"throttled": True})
    text = words(shown(with_devices(device)))

    assert "qat answers 2 images otherwise" in text
    assert "The clock was lowered while it measured" in text


@pytest.mark.parametrize("shown", [printed, page_text])
def test_what_a_device_does_not_say_is_not_known(shown: Shown) -> None:
    device = sample_device().model_copy(update={"temperature_c": None, "throttled": None})
    models = [model.model_copy(update={"peak_rss_bytes": None}) for model in device.models]
    device = device.model_copy(update={"models": models})
    text = words(shown(with_devices(device)))

    assert "peak memory, each file alone not known" in text
    assert "temperature not known" in text
    assert "clock" not in text


@pytest.mark.parametrize("shown", [printed, page_text])
def test_the_memory_of_a_process_that_ran_all_files_as_older_reports_have_it_is_no_file_s(shown: Shown) -> None:
    older = sample_device().model_dump(mode="json") | {"peak_rss_bytes": 250_000_000}
    for model in older["models"]:
        del model["peak_rss_bytes"], model["sha256"]

    text = words(shown(with_devices(DeviceReport.model_validate_json(json.dumps(older)))))

    assert "peak memory, each file alone not known" in text
    assert "250" not in text


@pytest.mark.parametrize("shown", [printed, page_text])
def test_an_interval_that_covers_1_says_no_difference_measured(shown: Shown) -> None:

    assert "no difference measured" in words(shown(with_devices(sample_device(p50=11.9)))).partition("11.9")[2][:60]


def test_the_page_has_a_section_on_devices_only_where_there_are_some() -> None:
    assert "On devices" in Page(render_html(with_devices(sample_device()))).headings
    assert "On devices" not in Page(render_html(sample_report())).headings


def test_names_from_a_device_are_text() -> None:
    fields = ("name", "cpu", "isa", "machine", "onnxruntime", "python", "selftest")
    device = sample_device(warnings=(HOSTILE,)).model_copy(update=dict.fromkeys(fields, HOSTILE))
    report = with_devices(device)
    text = printed(report, 300)

    assert "<script>" not in render_html(report)
    assert page_text(report).count("<script>alert('x')</script>\ufffd[31m") > 6
    assert "\x1b" not in text
    assert "\u202e" not in text
