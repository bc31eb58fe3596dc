"""The page: safe, self-contained, whole, and without empty sections."""

import re
from html.parser import HTMLParser

import pytest

from edgekd.report.page.report_page import render_html
from edgekd.report.schema import Latency, Ratio, Report, WeightBits
from edgekd.report.stage_report import Search, Trial
from tests.brief import plots_as_users_have_them
from tests.report.samples import (
    sample_alarming_report,
    sample_failed_report,
    sample_report,
    sample_unjudged_report,
    sample_unlearned_report,
)

HOSTILE = "<script>alert('x')</script>\x1b[31m\x00\u202e \" & $x_1^2$ --> ]]> </title></style>"
VOID = {"meta", "br", "img", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask about; fails where a tag is closed that is not the innermost open one."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def sample_html() -> str:
    with plots_as_users_have_them():
        return render_html(sample_report())


@pytest.fixture(scope="module")
def hostile_html() -> str:
    with plots_as_users_have_them():
        return render_html(_hostile(sample_report()))


def test_tags_balance(sample_html: str, hostile_html: str) -> None:
    assert Page(sample_html).open == []
    assert Page(hostile_html).open == []


def test_the_page_needs_no_script_and_no_network(sample_html: str) -> None:
    page = Page(sample_html)

    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert all(value.startswith("#") for name, value in page.attributes if name in ("href", "src", "xlink:href"))
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", sample_html)


def test_ids_within_the_page_are_unique(sample_html: str) -> None:
    ids = [value for name, value in Page(sample_html).attributes if name == "id"]

    assert ids
    assert len(ids) == len(set(ids))


def test_names_are_shown_as_text_wherever_they_stand(sample_html: str, hostile_html: str) -> None:
    page = Page(hostile_html)

    assert set(page.tags) <= set(Page(sample_html).tags)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", hostile_html)
    assert page.text.count("<script>alert('x')</script>\ufffd[31m\ufffd\ufffd") > 20


@pytest.mark.usefixtures("real_plots")
def test_the_same_report_gives_the_same_bytes(sample_html: str) -> None:
    assert render_html(sample_report()) == sample_html


def test_the_verdict_comes_before_all_figures(sample_html: str) -> None:
    text = Page(sample_html).text

    assert 0 < text.index("PASS Recommended: qat (model.onnx) The smallest of the files") < text.index("13.0× smaller")
    assert "3.0× faster" in text
    assert "0.3 points above the teacher no difference measured" in text
    assert "64 of 64 kernels" in text


def test_a_missed_budget_shows_the_nearest_miss() -> None:
    text = Page(render_html(sample_failed_report())).text

    assert "FAIL Chosen: qat (model.onnx) latency_ratio is 0.98, the limit 0.5." in text
    assert "latency_ratio 0.50 0.98 missed" in text
    assert "recommended" not in text.lower()


def test_without_a_budget_the_badge_and_the_title_say_so() -> None:
    page = render_html(sample_unjudged_report())

    assert "<title>mobilenet: NO BUDGET</title>" in page
    assert "NO BUDGET Recommended: qat (model.onnx) No budget was given." in Page(page).text
    assert "PASS" not in Page(page).text


def test_a_recommended_file_far_below_its_teacher_is_told_in_red_though_the_budget_is_kept(sample_html: str) -> None:
    page = render_html(sample_alarming_report())

    assert re.search(r'<ul class="notes loud alarms"><li>qat lies 38\.6 points below teacher on test', page)
    assert "alarms" not in sample_html.partition("</style>")[2]


def test_what_the_recommended_file_has_not_learned_stands_in_red_and_the_balanced_accuracy_beside(
    sample_html: str,
) -> None:
    page = render_html(sample_unlearned_report())

    assert re.search(r'<ul class="notes loud alarms"><li>qat never answers 9 of the 10 classes of test', page)
    assert "<small>balanced 10.0" in page
    assert "balanced" not in sample_html.partition("</style>")[2]


def test_the_teacher_is_never_far_below_itself() -> None:
    report = sample_alarming_report().model_copy(update={"recommended": "teacher"})

    assert "points below teacher on test" not in render_html(report)


def test_the_checks_of_the_nearest_miss_are_not_taken_for_the_teacher_s() -> None:
    report = sample_failed_report()
    verdict = report.verdict.model_copy(update={"checked": "qat"})
    text = Page(render_html(report.model_copy(update={"verdict": verdict, "recommended": "teacher"}))).text

    assert "Chosen: teacher" in text
    assert "Size 1× the teacher itself" in text
    assert "checked: qat on test" in text


def test_the_page_says_which_images_decided_and_which_judged(sample_html: str) -> None:
    text = Page(sample_html).text
    report = sample_report()
    old = [model.model_copy(update={"val_paired": None}) for model in report.models]
    before = Page(render_html(report.model_copy(update={"models": old}))).text

    assert "answers on the 287 validation images. Only the chosen file is then checked against the budget" in text
    assert "no decision was taken" not in text
    assert "one chosen, by their accuracy on test." in before


def test_each_other_student_is_paired_with_the_recommended_one(sample_html: str) -> None:
    text = Page(sample_html).text

    assert "ptq +0.3 [−1.3, 1.9] 3 2 p = 1.00 no difference measured" in text
    assert "prune +89.2 [85.2, 91.8] 321 0 p < 0.001 qat" in text


def test_an_interval_that_covers_1_is_never_called_faster() -> None:
    text = Page(render_html(sample_failed_report())).text

    assert "Latency no difference measured p50 1.57 ms of 1.60 ms speedup 1.02 95 % interval 0.97 to 1.06" in text
    assert "× faster" not in text


def test_a_slower_file_is_called_slower() -> None:
    report = _with_recommended(speedup=Ratio(ratio=0.8, ci95=(0.78, 0.82)))

    assert "1.25× slower" in Page(render_html(report)).text


def test_an_integer_file_slower_than_the_float_one_is_marked(sample_html: str) -> None:
    report = _with_recommended(
        latency_ms=Latency(p50=0.61, p90=0.62, p99=0.7, runs=2000),
        source="distill",
        source_ratio=Ratio(ratio=1.09, ci95=(1.07, 1.11)),
    )

    assert "slower than" not in sample_html
    assert "slower than distill" in Page(render_html(report)).text


def test_float_kernels_left_in_an_integer_file_are_named_by_layer() -> None:
    left = (
        sample_report().models[3].kernels.model_copy(update={"float": 1, "float_ops": ["HardSwish features.4.block.1"]})
    )

    assert (
        "Float kernels left in qat: HardSwish features.4.block.1"
        in Page(render_html(_with_recommended(kernels=left))).text
    )


def test_what_8_bit_weights_lose_is_said_in_words_and_figures(sample_html: str) -> None:
    text = Page(sample_html).text

    assert "Measured here, calibrated only: lost by 8 bits against 7 bits: 8.9 points (p < 0.001)." in text
    assert "8 bits |q| ≤ 127 89.7 % 98.9 % 9.2 points" in text


@pytest.mark.parametrize(
    ("saturates", "isa", "bits", "sentence"),
    [
        (True, "x86-avx2", 7, "For x86-avx2 the weights are kept in 7 bits, where every sum fits"),
        (True, "any", 4, "For every CPU the weights are kept in 4 bits, where every sum fits"),
        (True, "arm64", 8, "is less accurate here"),
        (False, "x86-avx2", 7, "does not saturate. x86-avx2, the declared target, does"),
        (False, "any", 7, "does not saturate. Other CPUs' does, and the target is any"),
        (False, "x86-vnni", 2, "does not saturate. Weights of 2 bits are chosen for their size."),
        (False, "arm64", 8, "does not saturate. All 8 bits are used."),
    ],
)
def test_the_words_on_saturation_fit_this_cpu_and_the_target(
    saturates: bool, isa: str, bits: int, sentence: str
) -> None:
    report = sample_report()
    assert report.quantization
    target = report.target.model_copy(update={"isa": isa, "saturates": saturates})
    facts = report.quantization.model_copy(update={"declared_bits": bits})

    assert sentence in Page(render_html(report.model_copy(update={"target": target, "quantization": facts}))).text


def test_a_mix_of_bits_beside_four_bits_is_the_only_row_that_is_used() -> None:
    report = sample_report()
    assert report.quantization
    rows = [WeightBits(bits=4, name=name, as_shipped=0.98, exact=0.98, total=287) for name in ("", "2 to 7 bits")]
    facts = report.quantization.model_copy(
        update={"declared_bits": 4, "declared_name": "2 to 7 bits", "calibrated": rows}
    )

    text = Page(render_html(report.model_copy(update={"quantization": facts}))).text

    assert text.count("used 2 to 7 bits") == 1
    assert "no difference between 4 bits and the mix" in text
    assert "4 bits used" not in text


def test_every_section_has_data_in_the_sample(sample_html: str) -> None:
    assert len(Page(sample_html).headings) == 12


def test_sections_without_data_are_left_out() -> None:
    report = sample_report()
    bare = [stage.model_copy(update={"epochs": [], "widths": []}) for stage in report.stages]
    lone = report.models[0].model_copy(update={"per_class_accuracy": [None] * 10})
    verdict = report.verdict.model_copy(update={"checks": []})
    page = Page(
        render_html(
            report.model_copy(
                update={
                    "stages": bare,
                    "models": [lone],
                    "recommended": "teacher",
                    "quantization": None,
                    "rivals": [],
                    "verdict": verdict,
                    "notes": [],
                }
            )
        )
    )

    assert page.headings == [
        "Every file against the teacher",
        "Kernels that ONNX Runtime runs",
        "Stages",
        "Data, target and environment",
        "How each figure was measured",
    ]
    assert "svg" not in page.tags


def test_one_broken_file_does_not_flatten_the_plot(sample_html: str) -> None:
    assert "prune, 2,345 kB, float32, off the scale at 9.7 %" in sample_html


@pytest.mark.usefixtures("real_plots")
def test_of_many_classes_those_that_differ_most_are_drawn() -> None:
    report = sample_report()
    names = [f"class-{index:04}" for index in range(1000)]
    teacher = report.models[0].model_copy(update={"per_class_accuracy": [1.0] * 1000})
    student = report.models[3].model_copy(update={"per_class_accuracy": [1.0] * 999 + [0.5]})
    data = report.data.model_copy(update={"class_names": names, "classes": 1000})
    text = Page(render_html(report.model_copy(update={"data": data, "models": [teacher, student]}))).text

    assert "The 40 of 1000 classes that differ most." in text
    assert "class-0999" in text
    assert "class-0500" not in text


def _with_recommended(**update: object) -> Report:
    report = sample_report()
    models = [model.model_copy(update=update) if model.id == "qat" else model for model in report.models]
    return report.model_copy(update={"models": models})


def _hostile(report: Report) -> Report:
    """The same report, with every name in it chosen by an enemy."""
    stages = [
        stage.model_copy(
            update={
                "id": f"{stage.id}{HOSTILE}",
                "settings": {HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
                "notes": [HOSTILE],
                "facts": {HOSTILE: HOSTILE},
                "digest": HOSTILE,
                "widths": [width.model_copy(update={"layer": HOSTILE, "note": HOSTILE}) for width in stage.widths],
                "epochs": [epoch.model_copy(update={"losses": {HOSTILE: 1.0, "ce": 2.0}}) for epoch in stage.epochs],
            }
        )
        for stage in report.stages
    ]
    models = [
        model.model_copy(
            update={
                "id": f"{model.id}{HOSTILE}",
                "file": HOSTILE,
                "sha256": HOSTILE,
                "precision": HOSTILE,
                "kernels": model.kernels.model_copy(update={"ops": {HOSTILE: 3}, "float": 3, "float_ops": [HOSTILE]}),
            }
        )
        for model in report.models
    ]
    assert report.quantization
    return report.model_copy(
        update={
            "pipeline": HOSTILE,
            "created": HOSTILE,
            "recommended": f"qat{HOSTILE}",
            "verdict": report.verdict.model_copy(update={"reason": HOSTILE}),
            "target": report.target.model_copy(update={"isa": HOSTILE, "cpu": HOSTILE, "onnxruntime": HOSTILE}),
            "data": report.data.model_copy(update={"name": HOSTILE, "class_names": [HOSTILE] * 10}),
            "models": models,
            "stages": stages,
            "quantization": report.quantization.model_copy(update={"source": HOSTILE, "kept": HOSTILE}),
            "environment": {HOSTILE: HOSTILE, "edgekd": HOSTILE},
            "notes": [HOSTILE],
        }
    )


def test_a_training_that_gained_nothing_says_that_the_start_was_kept() -> None:
    report = sample_report()
    stages = [stage.model_copy(update={"best_epoch": 0}) if stage.epochs else stage for stage in report.stages]

    text = Page(render_html(report.model_copy(update={"stages": stages}))).text

    assert "none better than the start, which was kept" in text
    assert "the best is 0" not in text


def test_how_latency_was_taken_is_said_of_these_figures_and_of_those_of_one_process() -> None:
    """Reports of before say nothing of processes: they had one."""
    report = sample_report()
    today = report.model_copy(update={"target": report.target.model_copy(update={"processes": 10})})

    older_text, text = Page(render_html(report)).text, Page(render_html(today)).text

    assert "in randomly interleaved rounds in one process." in older_text
    assert "does not include differences between processes" in older_text
    assert "in randomly interleaved rounds in 10 processes, one after the other." in text
    assert "Student's 95 % interval over the processes" in text


def test_numbers_of_another_number_of_classes_are_not_drawn_beside_the_wrong_ones() -> None:
    report = sample_report()
    short = [model.model_copy(update={"per_class_accuracy": [1.0] * 9}) for model in report.models]

    with pytest.raises(ValueError, match="shorter"):
        render_html(report.model_copy(update={"models": short}))


def test_a_search_has_a_table_below_its_training_and_the_chosen_value_in_its_line() -> None:
    report = sample_report()
    tried = [Trial(value=2, val_accuracy=0.91), Trial(value=4, val_accuracy=0.935)]
    search = Search(setting="temperature", epochs=3, tried=tried, chosen=4)
    stages = [
        stage.model_copy(update={"searches": [search]}) if stage.id == "distill" else stage for stage in report.stages
    ]

    page = render_html(report.model_copy(update={"stages": stages}))

    assert page.count("accuracy on val after 3 epochs") == 1
    assert page.count("temperature 4 was chosen") == 1
    assert "93.5 %" in page
    assert "was chosen" not in render_html(report)
