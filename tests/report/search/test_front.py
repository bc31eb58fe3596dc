"""The front of files by hand-computed cases, and how a search is shown."""

import io
import json

import pytest
from rich.console import Console

from edgekd.report.search.front import unbeaten
from edgekd.report.search.page import render_search_html
from edgekd.report.search.schema import Contender, Front
from edgekd.report.search.terminal import render_front
from edgekd.report.search.wording import contender_words
from tests.report.search.made_up import contender, made_up_front, tried


def of(accuracy: int, size: int, latency: float) -> Contender:
    return contender(accuracy, size, latency)


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ([of(270, 500, 0.3)], [0]),
        # The second is worse in all three.
        ([of(270, 500, 0.3), of(269, 501, 0.31)], [0]),
        # Each is best in one.
        ([of(280, 900, 0.5), of(270, 300, 0.4), of(260, 500, 0.2)], [2, 1, 0]),
        # The first is beaten by the second in bytes alone, and equal in the rest.
        ([of(270, 500, 0.3), of(270, 400, 0.3)], [1]),
        # The same figures twice are one file.
        ([of(270, 500, 0.3), of(270, 500, 0.3)], [0]),
        # The third is beaten by none of the others in all, though by one in each two.
        ([of(280, 500, 0.4), of(270, 400, 0.2), of(281, 600, 0.3)], [1, 2, 0]),
    ],
)
def test_the_front_is_what_no_other_file_beats_the_fastest_first(files: list[Contender], kept: list[int]) -> None:
    assert unbeaten(list(enumerate(files))) == kept


def test_a_front_survives_json_and_refuses_what_it_does_not_know() -> None:
    front = made_up_front()

    text = front.model_dump_json(by_alias=True)

    assert Front.model_validate_json(text) == front
    assert json.loads(text)["schema"] == 1
    with pytest.raises(ValueError, match="extra"):
        Front.model_validate_json(text[:-1] + ', "more": 1}')


@pytest.mark.usefixtures("real_plots")
def test_the_page_shows_the_best_every_trial_and_why_some_were_not_measured() -> None:
    page = render_search_html(made_up_front())

    assert "mobilenet: the best of 20 trials" in page
    assert ">PASS<" in page
    assert "trial 5: prune.pruning_ratio 0.425" in page
    assert page.count("stopped early") == 3 + 1
    assert page.count("could not be run") == 2
    assert "the file as it is" in page
    assert "val accuracy, %" in page
    assert "1.2% of it" not in page


def test_what_a_file_says_is_escaped() -> None:
    front = made_up_front()
    evil = front.trials[4].model_copy(update={"detail": "<script>alert(1)</script>"})

    page = render_search_html(front.model_copy(update={"trials": [*front.trials[:4], evil, *front.trials[5:]]}))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_terminal_shows_the_files_measured_together_and_the_best_ones_values() -> None:
    written = io.StringIO()
    Console(file=written, width=120, markup=False, highlight=False).print(render_front(made_up_front(outcome="fail")))

    shown = written.getvalue()
    assert shown.startswith("FAIL  trial 5 is best: ")
    assert "> 5 " in shown
    assert "trial 5: prune.pruning_ratio 0.425, distill.loss kd, qat.weight_bits null" in shown
    assert "20 trials (15 measured, 3 stopped early, 2 could not be run)" in shown
    assert "against the file as it is: Bytes: 0.52 of its bytes." in shown


def test_a_trial_is_told_in_a_line() -> None:
    measured = tried(3, contender(270, 500_000, 0.25), seconds=75.0)
    beyond = tried(3, contender(270, 500_000, 0.25, ("size_ratio 0.1 (limit 0.08)",)), seconds=75.0)
    stopped = tried(4, None, outcome="stopped early", detail="hopeless", seconds=2.0)

    figures = "93.8 % on val, 0.25 of the teacher's latency, 500 kB"
    assert contender_words(measured) == f"{figures}; fits; took 1 min 15 s"
    assert contender_words(beyond) == f"{figures}; misses size_ratio 0.1 (limit 0.08); took 1 min 15 s"
    assert contender_words(stopped) == "stopped early: hopeless; took 2.0 s"
