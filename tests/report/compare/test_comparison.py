"""Runs held against each other: what is compared, what is not, and what is said of it."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from edgekd.report.compare.comparison import Comparison, Pair, compare
from edgekd.report.compare.page import render_comparison_html
from edgekd.report.compare.settings_that_differ import differences
from edgekd.report.compare.terminal import render_comparison
from edgekd.report.predictions import Predictions
from edgekd.report.schema import Latency, Report
from tests.report.compare.made_up import LABELS, made_up_report, made_up_run
from tests.report.samples import TEST_IMAGES, sample_device


def compared(*reports: Report) -> Comparison:
    return compare([made_up_run(report) for report in reports])


def on_front(comparison: Comparison, place: str = "host") -> dict[str, bool | None]:
    return {run.name: run.latencies[place].on_front for run in comparison.runs if place in run.latencies}


def test_figures_are_those_of_the_recommended_file() -> None:
    run = compared(made_up_report("a", 0.975, 123_456, 0.8), made_up_report("b")).runs[0]

    assert (run.name, run.model, run.correct, run.total, run.size_bytes) == ("a", "qat", 351, 360, 123_456)
    assert run.latencies["host"].latency_ms.p50 == 0.8


def test_a_file_far_below_its_teacher_is_told_in_red_here_too() -> None:
    comparison = compared(made_up_report("good"), made_up_report("poor", 0.6))

    (line,) = comparison.alarms
    assert line.startswith("poor: qat lies ")
    assert f"<li>{line}</li>" in render_comparison_html(comparison)
    console = Console(file=io.StringIO(), width=200)
    console.print(render_comparison(comparison))
    assert f"warning: {line}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_front_holds_what_no_other_run_beats() -> None:
    best = made_up_report("accurate", 0.99, 300_000, 3.0)
    small = made_up_report("small", 0.95, 50_000, 2.5)
    quick = made_up_report("quick", 0.96, 200_000, 0.5)
    beaten = made_up_report("beaten", 0.95, 250_000, 0.6)
    comparison = compared(best, small, quick, beaten)

    assert on_front(comparison) == {"accurate": True, "small": True, "quick": True, "beaten": False}
    assert comparison.runs[3].latencies["host"].behind == ["quick"]


def test_runs_with_the_same_figures_do_not_beat_each_other() -> None:
    assert on_front(compared(made_up_report("a"), made_up_report("b"))) == {"a": True, "b": True}


def test_a_run_that_is_only_smaller_beats_one_of_the_same_accuracy_and_latency() -> None:
    comparison = compared(made_up_report("a", size_bytes=2_000), made_up_report("b", size_bytes=1_000))

    assert comparison.runs[0].latencies["host"].behind == ["b"]
    assert comparison.runs[1].latencies["host"].behind == []


def test_mcnemar_counts_the_images_that_only_one_gets_right() -> None:
    first = made_up_run(made_up_report("a"), wrong=slice(0, 9))
    second = made_up_run(made_up_report("b"), wrong=slice(6, 15))

    (pair,) = compare([first, second]).pairs

    assert (pair.only_first, pair.only_second) == (6, 6)  # wrong: 0 to 8, and 6 to 14; 6 to 8 by both
    assert pair.p_value == 1.0
    assert not pair.measured


def test_a_difference_is_measured_only_below_five_per_cent() -> None:
    exact = made_up_run(made_up_report("a", 1.0))
    six = made_up_run(made_up_report("b", 354 / TEST_IMAGES))
    five = made_up_run(made_up_report("c", 355 / TEST_IMAGES))

    by_names = {(pair.first, pair.second): pair for pair in compare([exact, six, five]).pairs}

    assert by_names["a", "b"].p_value == pytest.approx(stats.binomtest(6, 6).pvalue)  # 2 / 2^6
    assert by_names["a", "b"].measured
    assert by_names["a", "c"].p_value == pytest.approx(2 / 2**5)
    assert not by_names["a", "c"].measured


def test_other_test_images_are_grouped_apart_and_said_so() -> None:
    other = made_up_report("b", data={"fingerprint": "x", "test_fingerprint": "cd" * 32, "name": "other", "test": 99})
    comparison = compared(made_up_report("a"), other, made_up_report("c"))

    assert [(run.name, run.test_group) for run in comparison.runs] == [("a", 0), ("c", 0), ("b", 1)]
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("a", "c")]
    assert on_front(comparison) == {"a": True, "c": True, "b": None}
    assert comparison.reasons == [
        "b was tested on other images (other at 32x32 pixels, 99 images; a on digits at 32x32 pixels, 360 images): "
        "accuracies are not compared."
    ]


def test_images_that_look_alike_but_are_others_are_told_by_fingerprint() -> None:
    other = made_up_report("b", data={"fingerprint": "x", "test_fingerprint": "cd" * 32})

    assert "(fingerprint cdcdcdcd; a on abababab)" in compared(made_up_report("a"), other).reasons[0]


def test_other_training_images_leave_the_test_comparable() -> None:
    other = made_up_report("b", data={"fingerprint": "x", "train": 9})

    assert compared(made_up_report("a"), other).reasons == []


def test_an_old_report_is_comparable_where_the_whole_dataset_is_the_same() -> None:
    old = made_up_report("old", data={"test_fingerprint": "", "settings": {}})
    another = made_up_report("b", data={"fingerprint": "x"})

    assert compared(old, made_up_report("a")).reasons == []
    assert compared(old, another).reasons == [
        "b was tested on images that need not be old's (an older report does not say which): "
        "accuracies are not compared."
    ]


def test_two_old_reports_on_different_datasets_are_not_taken_for_the_same() -> None:
    first = made_up_report("a", data={"test_fingerprint": ""})
    second = made_up_report("b", data={"test_fingerprint": "", "fingerprint": "x"})

    assert len(compared(first, second).reasons) == 1


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"cpu": "Z80"}, "b was measured on another CPU (Z80, a on AMD EPYC 7763 64-Core Processor): "),
        ({"threads": 4}, "b was measured with other threads (4, a with 1): "),
        ({"batch": 8}, "b was measured at another batch (8, a at 1): "),
        ({"onnxruntime": "1.0"}, "b was measured with another ONNX Runtime (1.0, a with 1.32.0): "),
        (
            {"threads": 4, "batch": 8},
            "b was measured with other threads (4, a with 1), at another batch (8, a at 1): ",
        ),
    ],
)
def test_latency_measured_otherwise_is_grouped_apart_and_said_so(target: dict[str, object], told: str) -> None:
    comparison = compared(made_up_report("a"), made_up_report("b", target=target))

    assert comparison.reasons == [f"{told}latencies are not compared."]
    assert on_front(comparison) == {"a": None, "b": None}
    assert len(comparison.pairs) == 1  # the test images are the same
    assert comparison.notes == []


def test_runs_measured_alike_share_one_sentence() -> None:
    reports = [made_up_report(name, target={"cpu": "Z80"} if name > "b" else {}) for name in "abcd"]

    (reason,) = compared(*reports).reasons

    assert reason.startswith("c and d were measured on another CPU (Z80, a on AMD")


def test_each_device_is_a_place_of_its_own_with_its_own_front() -> None:
    first = made_up_report("a", 0.99, p50=1.0, devices=(sample_device("pi", 5.0),))
    second = made_up_report("b", 0.95, p50=0.5, devices=(sample_device("pi", 6.0),))
    comparison = compared(first, second, made_up_report("c", 0.95))

    assert comparison.places == ["host", "pi"]
    assert on_front(comparison) == {"a": True, "b": True, "c": False}
    assert on_front(comparison, "pi") == {"a": True, "b": False}


def test_a_device_of_the_same_name_with_another_cpu_is_not_compared() -> None:
    other = sample_device("pi").model_copy(update={"cpu": "Cortex-A53"})
    comparison = compared(made_up_report("a", devices=(sample_device("pi"),)), made_up_report("b", devices=(other,)))

    assert comparison.reasons == [
        "On pi, b was measured on another CPU (Cortex-A53, a on Cortex-A72): latencies are not compared."
    ]


def test_a_device_called_host_is_not_taken_for_the_host() -> None:
    comparison = compared(made_up_report("a", devices=(sample_device("host", 9.0),)), made_up_report("b"))

    assert {place: found.latency_ms.p50 for place, found in comparison.runs[0].latencies.items()} == {
        "host": 1.0,
        "host (device)": 9.0,
    }


def test_latencies_of_separate_runs_are_called_so_with_the_command_that_pairs_them() -> None:
    comparison = compared(made_up_report("a"), made_up_report("b c"))

    assert comparison.notes == [
        "Latencies are absolute figures of separate runs, not interleaved with one another; "
        "to compare them paired: edgekd bench exports/a 'exports/b c'"
    ]


def test_a_latency_with_a_long_tail_is_told_as_disturbed() -> None:
    report = made_up_report("b")
    slow = report.models[1].model_copy(update={"latency_ms": Latency(p50=1.0, p90=1.4, p99=3.1, runs=900)})
    busy = report.model_copy(update={"models": [report.models[0], slow]})

    assert compared(made_up_report("a"), busy).warnings == (
        ["b on the host: p99 is more than 3 times p50, on a quiet machine it is less than twice; p50 may be too high."]
    )


def test_without_stored_answers_no_difference_is_tested_and_the_reason_given() -> None:
    first = made_up_run(made_up_report("a"))
    second = replace(first, name="b", answers=None, doubt="there is no predictions.npz beside its report")
    comparison = compare([first, second])

    assert comparison.pairs == [
        Pair(first="a", second="b", accuracy_difference=0.0, only_first=None, only_second=None, p_value=None)
    ]
    assert comparison.warnings[0] == (
        "b: there is no predictions.npz beside its report, so no difference in accuracy to it is tested."
    )


def test_answers_to_other_labels_are_not_paired() -> None:
    first, second = made_up_run(made_up_report("a")), made_up_run(made_up_report("b"))
    assert second.answers
    turned = replace(second, answers=Predictions(np.roll(LABELS, 1), second.answers.chosen))
    comparison = compare([first, turned])

    assert comparison.pairs[0].p_value is None
    assert comparison.warnings[0] == "a and b store different labels, so their difference is not tested."


def settings_of(*reports: Report) -> Mapping[str, Mapping[str, object]]:
    return {found.setting: found.values for found in differences({report.pipeline: report for report in reports})}


def test_only_the_settings_that_differ_are_told() -> None:
    first = made_up_report("a", seed=1, stages={"distill": {"temperature": 2.0}})
    second = made_up_report("b", data={"settings": {"name": "digits", "image_size": 32, "augment": "crop_flip"}})

    assert settings_of(first, second) == {
        "seed": {"a": 1, "b": 0},
        "data.augment": {"a": "none", "b": "crop_flip"},
        "distill.temperature": {"a": 2.0, "b": 4.0},
    }


def test_nested_settings_are_told_by_their_dotted_name() -> None:
    first = made_up_report("a", stages={"export": {"input": {"dtype": "float32", "layout": "NHWC"}}})

    assert settings_of(first, made_up_report("b")) == {"export.input.dtype": {"a": "float32", "b": "uint8"}}


def test_a_setting_that_a_run_lacks_is_a_difference_without_its_value() -> None:
    first = made_up_report("a", stages={"distill": {"attention": 1.0}})

    assert settings_of(first, made_up_report("b")) == {"distill.attention": {"a": 1.0}}


def test_a_stage_that_a_run_lacks_is_one_difference() -> None:
    second = made_up_report("b")
    without = second.model_copy(update={"stages": [stage for stage in second.stages if stage.id != "prune"]})

    assert settings_of(made_up_report("a"), without) == {"prune": {"a": "prune"}}


def test_true_is_not_1_but_1_is_1_0() -> None:
    first, second = made_up_report("a", stages={"qat": {"x": True}}), made_up_report("b", stages={"qat": {"x": 1}})
    third = made_up_report("c", stages={"qat": {"x": 1.0}})

    assert "qat.x" in settings_of(first, second)
    assert settings_of(second, third) == {}


def test_an_old_report_is_compared_in_the_data_settings_that_it_records() -> None:
    old = made_up_report("a", data={"settings": {}, "image_size": 16})

    assert settings_of(old, made_up_report("b")) == {"data.image_size": {"a": 16, "b": 32}}


def test_a_stage_named_like_a_part_of_the_pipeline_keeps_its_settings_apart() -> None:
    report = made_up_report("a")
    stages = [stage.model_copy(update={"id": "target"}) if stage.id == "qat" else stage for stage in report.stages]
    first = report.model_copy(update={"stages": stages})
    changed = [
        stage.model_copy(update={"settings": {**stage.settings, "lr": 9.0}}) if stage.id == "target" else stage
        for stage in stages
    ]

    assert settings_of(first, first.model_copy(update={"pipeline": "b", "stages": changed})) == {
        "stages.target.lr": {"a": 0.005, "b": 9.0}
    }


def test_the_same_recipe_gives_no_difference() -> None:
    assert settings_of(made_up_report("a"), made_up_report("b")) == {}


def test_json_holds_everything_and_reads_back() -> None:
    comparison = compared(made_up_report("a", devices=(sample_device(),)), made_up_report("b", seed=3))
    body = json.loads(comparison.model_dump_json(by_alias=True))

    assert body["schema"] == 2
    assert body["runs"][0]["outcome"] == "pass"
    assert body["runs"][0]["latencies"]["pi4"]["conditions"]["cpu"] == "Cortex-A72"
    assert body["pairs"][0]["measured"] is False
    assert body["differences"] == [{"setting": "seed", "values": {"a": 0, "b": 3}}]
    assert sorted(body) == ["alarms", "differences", "notes", "pairs", "reasons", "runs", "schema", "warnings"]
