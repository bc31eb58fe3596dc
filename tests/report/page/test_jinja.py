"""Templates: a name that is not there is an error, and no value can harm the page."""

import pytest
from jinja2 import UndefinedError

from edgekd.report.page.jinja import fact, filled


def test_a_value_that_a_template_names_and_nobody_gives_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        filled("frame.html.jinja")


def test_what_is_filled_in_is_text_without_control_characters() -> None:
    page = filled("frame.html.jinja", title="<b>\x1b[2J\u202e & \n")

    assert "<title>&lt;b&gt;\ufffd[2J\ufffd &amp;  </title>" in page


def test_facts_are_read_as_they_were_written() -> None:
    assert [fact(value) for value in ("0.10", 0.1, 94_300_000, True, ["kd"], None)] == [
        "0.10",
        "0.1",
        "94,300,000",
        "true",
        '["kd"]',
        "null",
    ]
