"""What every page is made of: its frame, sections, cards, figures, lists of facts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from edgekd.report.page.markup import NOTHING, Html, el, join


def page(title: str, content: Iterable[Html]) -> str:
    """A whole page that needs nothing else: no script, no network."""
    style = resources.files("edgekd.report.page").joinpath("style.css").read_text(encoding="utf-8")
    head = join(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            el("title", title),
            el("style", Html(style)),
        ]
    )
    body = el("main", *content)
    return f"<!DOCTYPE html>\n{el('html', el('head', head), el('body', body), lang='en')}\n"


def section(title: str, content: Html) -> Html:
    """Nothing where there is no content."""
    return el("section", el("h2", title), content) if content else NOTHING


def card(label: str, figure: str, unit: str, *details: str) -> Html:
    """One large figure; words where they are too long for that size stand smaller."""
    size = "figure" if len(figure) < 10 else "figure words"
    lines = [el("p", detail, class_="detail") for detail in details]
    return el(
        "div", el("p", label, class_="label"), el("p", figure, el("small", unit), class_=size), *lines, class_="card"
    )


def small(text: str) -> Html:
    return el("small", text)


def figure(svg: str) -> Html:
    return el("figure", Html(svg)) if svg else NOTHING


def pairs(facts: Mapping[str, object]) -> Html:
    """Facts as small boxes in a row."""
    if not facts:
        return NOTHING
    return el("p", *(el("span", key, " ", el("b", _value(value)), class_="chip") for key, value in facts.items()))


def definitions(facts: Mapping[str, object], class_: str = "") -> Html:
    """Facts as words and what they mean, one below the other."""
    lines = [join([el("dt", key), el("dd", _value(value))]) for key, value in facts.items()]
    return el("dl", *lines, class_=class_)


def _value(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if type(value) is int else json.dumps(value, ensure_ascii=False, default=str)


def loud(alarms: Sequence[str]) -> Html:
    """What must not be overlooked, in red; nothing where there is nothing."""
    return el("ul", *(el("li", alarm) for alarm in alarms), class_="notes loud alarms") if alarms else NOTHING
