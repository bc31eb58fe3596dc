"""An ablation's page and its terminal tables: what they say, and that they are safe and self-contained."""

import re

import pytest
from rich.console import Console

from edgekd.report.ablation.page import render_ablation_html
from edgekd.report.ablation.schema import Ablation
from edgekd.report.ablation.terminal import render_ablation
from edgekd.report.ablation.wording import arm_words, summary
from tests.brief import plots_as_users_have_them
from tests.report.ablation.samples import SEEDS, change, sample_ablation
from tests.report.page.test_report_page import HOSTILE, Page


@pytest.fixture(scope="module")
def page() -> str:
    with plots_as_users_have_them():
        return render_ablation_html(sample_ablation())


@pytest.fixture(scope="module")
def hostile() -> str:
    """Every name chosen by an enemy."""
    sample = sample_ablation()
    arms = [
        arm.model_copy(update={"name": f"{HOSTILE}{arm.name}", "sentence": HOSTILE, "settings": [HOSTILE]})
        for arm in sample.arms
    ]
    runs = [run.model_copy(update={"arm": f"{HOSTILE}{run.arm}", "file": HOSTILE}) for run in sample.runs]
    runs += [run.model_copy(update={"file": HOSTILE}) for run in sample.runs if run.arm == "base"]
    stages = [stage.model_copy(update={"id": HOSTILE, "before": HOSTILE}) for stage in sample.stages]
    names = {"pipeline": HOSTILE, "compared": HOSTILE, "arms": arms, "runs": runs, "stages": stages}
    with plots_as_users_have_them():
        return render_ablation_html(sample.model_copy(update=names))


def test_tags_balance_and_names_are_shown_as_text(page: str, hostile: str) -> None:
    shown = Page(hostile)

    assert Page(page).open == shown.open == []
    assert set(shown.tags) <= set(Page(page).tags)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", hostile)
    assert shown.text.count("<script>alert('x')</script>\ufffd[31m\ufffd\ufffd") > 20


def test_the_page_needs_no_script_and_no_network(page: str) -> None:
    found = Page(page)

    assert not {"script", "link", "iframe", "img", "object"} & set(found.tags)
    assert all(value.startswith("#") for name, value in found.attributes if name in ("href", "src", "xlink:href"))
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", page)


@pytest.mark.usefixtures("real_plots")
def test_the_same_ablation_gives_the_same_bytes(page: str) -> None:
    assert render_ablation_html(sample_ablation()) == page


def test_each_arm_has_one_plain_sentence_of_result(page: str) -> None:
    text = Page(page).text

    assert "labels (no teacher: the labels alone): loses 1.2 points [−2.0, −0.4]." in text
    assert "scratch (the pruned widths with fresh weights): no difference measured: −0.2 [−1.3, 0.9] points." in text
    assert "by-width (no pruning): gains 0.6 points [0.2, 1.0]. It has 0.81 of the MACs." in text
    assert "early-stop (the teacher's term stops): could not be run: stages[2] (distill): the loss is nan; low" in text


def test_the_tables_say_what_was_gained_and_where_nothing_was_measured(page: str) -> None:
    text = Page(page).text

    assert "labels no teacher: the labels alone 97.8 % 98.0 % −1.2 [−2.0, −0.4] −0.6 [−1.4, 0.2] 1.00 1.00" in text
    assert "ptq calibration alone 108 training steps fewer" in text
    assert "−0.1 [−0.4, 0.2] no difference measured" in text
    assert "prune against teacher −25.0 [−30.0, −20.0]" in text
    assert "0.28 [0.27, 0.29]" in text
    assert "base as the file says 98.1 % 98.0 % – – 659 kB 6.87 M 0.27 ms" in text


def test_the_page_says_that_nothing_was_decided_on_test_and_how_intervals_were_taken(page: str) -> None:
    text = Page(page).text

    assert "Nothing was decided by them: every choice in a run, such as its best epoch, was made on val" in text
    assert "Satterthwaite's degrees of freedom" in text
    assert "ptq kept, qat did not beat it" in text
    assert Page(page).headings == [
        "What each choice paid",
        "What each stage paid",
        "What differs in each arm",
        "Every run",
        "How the figures were taken",
    ]


def test_one_seed_is_said_to_prove_nothing_of_others() -> None:
    sample = sample_ablation()
    alone = sample.model_copy(update={"seeds": [0], "runs": [run for run in sample.runs if run.seed == 0]})

    text = Page(render_ablation_html(alone)).text

    assert "It says nothing of other seeds" in text
    assert "Satterthwaite" not in text
    assert "The file of qat, seed 0, 360 test images." in text


def half_done() -> Ablation:
    sample = sample_ablation()
    runs = [run for run in sample.runs if run.seed == 0 and run.arm != "ptq"]
    arms = [arm.model_copy(update={"change": None if arm.name == "ptq" else arm.change}) for arm in sample.arms]
    return sample.model_copy(update={"runs": runs, "arms": arms})


def test_what_is_not_run_yet_is_said_to_be_so() -> None:
    text = Page(render_ablation_html(half_done())).text

    assert "The file of qat, seed 0, 360 test images; 11 of the runs for seeds 0 to 2 are still to do." in text
    assert "ptq (calibration alone): not run yet" in text


def test_an_arm_that_failed_with_one_seed_says_so_beside_its_figures() -> None:
    found = sample_ablation().arms[0].model_copy(update={"error": "with seed 2: the loss is nan"})

    assert arm_words(found) == "loses 1.2 points [−2.0, −0.4]. Could not be run with seed 2: the loss is nan."


def test_without_arms_there_are_no_sections_of_arms() -> None:
    page = Page(render_ablation_html(sample_ablation().model_copy(update={"arms": []})))

    assert page.headings == ["What each stage paid", "Every run", "How the figures were taken"]
    assert "ul" not in page.tags


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_draws_the_same_tables(width: int) -> None:
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(render_ablation(sample_ablation()))

    lines = captured.get().splitlines()
    words = " ".join(captured.get().split())
    assert max(map(len, lines)) <= width
    assert "mobilenet: what each choice paid The file of qat, seeds 0, 1 and 2, 360 test images." in words
    assert "-1.2" in words
    assert "[-2.0, -0.4]" in words
    assert "could not be run" in words
    assert "0.28 [0.27, 0.29]" in words
    assert ("MACs" in words) == (width == 120)


def test_an_interval_that_covers_no_difference_is_measured_as_none() -> None:
    assert not change(0.01, 0.01).test.measured
    assert change(0.01, 0.009).test.measured
    assert change(-0.01, 0.009).test.measured


def test_seeds_that_are_whole_are_counted() -> None:
    assert sample_ablation().runs_left == 0
    assert summary(sample_ablation()) == "The file of qat, seeds 0, 1 and 2, 360 test images."
    assert len(sample_ablation().runs) == 5 * len(SEEDS)
