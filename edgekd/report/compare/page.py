"""The comparison as one HTML page that needs nothing else: no script, no network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import ReportError
from edgekd.report import wording as w
from edgekd.report.compare.comparable import HOST, the_place
from edgekd.report.compare.comparison import Comparison, Pair, RunFacts
from edgekd.report.compare.plot import cost_plot
from edgekd.report.compare.wording import (
    conditions_words,
    front_words,
    group_words,
    images_words,
    more_accurate_words,
    outcome_words,
    setting_words,
)
from edgekd.report.page.markup import NOTHING, Html, el, join
from edgekd.report.page.parts import card, definitions, figure, loud, page, section, small
from edgekd.report.schema import Outcome

OUTCOME_TAGS: Mapping[Outcome, str] = {"pass": "pass", "fail": "warn", "no budget": "quiet"}


def render_comparison_html(comparison: Comparison) -> str:
    """The whole page; a section that has no data is left out."""
    content = [
        _header(comparison),
        _cards(comparison),
        section("Runs", _runs(comparison)),
        section("Accuracy against size and latency", _plots(comparison)),
        section("Differences in accuracy", _pairs(comparison)),
        section("Settings that differ", _settings(comparison)),
        section("Where latency was measured", _conditions(comparison)),
        section("How to read it", _reading()),
        _footer(),
    ]
    return page(f"{len(comparison.runs)} runs compared", content)


def write_comparison_html(path: Path, comparison: Comparison) -> None:
    """Write the page.

    Raises:
        ReportError: the disk refuses.
    """
    text = render_comparison_html(comparison)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"cannot be written ({(error.strerror or str(error)).lower()})"
        raise ReportError(str(path), problem, "name a file in a folder that is there") from None


def _header(comparison: Comparison) -> Html:
    images = dict.fromkeys(images_words(run) for run in comparison.runs)
    names = [run.name for run in comparison.runs]
    title = " and ".join(names) if len(names) == 2 else f"{len(names)} runs compared"
    context = el("p", *(el("span", fact) for fact in images), class_="context")
    return el("header", el("h1", title), context, loud(comparison.alarms))


def _cards(comparison: Comparison) -> Html:
    """The best of the largest group that may be compared in every figure; nothing where each run stands alone."""
    group = max(comparison.groups, key=len)
    if len(group) == 1:
        return NOTHING
    accurate = _most_accurate(group)
    size, smallest = _least(group, lambda run: run.size_bytes, lambda run: w.kilobytes(run.size_bytes))
    p50, quickest = _least(group, _host_p50, lambda run: w.milliseconds(_host_p50(run)))
    on_front = [run.name for run in group if run.latencies[HOST].on_front]
    cards = [
        card(
            "Most accurate", w.percent(accurate.accuracy).removesuffix(" %"), " %", *_accurate(comparison.pairs, group)
        ),
        card("Smallest", size, " kB", smallest),
        card("Lowest latency", p50, " ms", quickest, "p50 on the host, each run by itself"),
        card("On the Pareto front", str(len(on_front)), f" of {len(group)}", ", ".join(on_front)),
    ]
    names = ", ".join(run.name for run in group)
    lead = el("p", f"Among those that may be compared in every figure: {names}.", class_="lead")
    return join([NOTHING if len(comparison.groups) == 1 else lead, el("div", *cards, class_="cards")])


def _host_p50(run: RunFacts) -> float:
    return run.latencies[HOST].latency_ms.p50


def _least(
    group: Sequence[RunFacts], cost: Callable[[RunFacts], float], words: Callable[[RunFacts], str]
) -> tuple[str, str]:
    """The lowest cost in words, and every run that has it in the digits shown."""
    least = words(min(group, key=cost))
    return least, ", ".join(run.name for run in group if words(run) == least)


def _most_accurate(group: Sequence[RunFacts]) -> RunFacts:
    return max(group, key=lambda run: run.accuracy)


def _accurate(pairs: Sequence[Pair], group: Sequence[RunFacts]) -> Iterator[str]:
    """The most accurate run, and those that no difference was measured to."""
    best, names = _most_accurate(group).name, {run.name for run in group}
    against = {
        ({pair.first, pair.second} - {best}).pop(): more_accurate_words(pair)
        for pair in pairs
        if best in (pair.first, pair.second) and {pair.first, pair.second} <= names
    }
    alike = [name for name, words in against.items() if words == w.NO_DIFFERENCE]
    yield best
    if alike:
        yield f"{w.NO_DIFFERENCE} to {w.listed(alike)}"
    elif all(words == best for words in against.values()):
        yield "a measured difference to every other"


def _runs(comparison: Comparison) -> Html:
    """One row per run, those that may be compared in every figure together; and what may not be compared."""
    columns = [
        ("run", "recommended file"),
        ("accuracy", "95 % interval"),
        ("size, kB", ""),
        *((f"{place}, ms", "p50, p99") for place in comparison.places),
        ("MACs", "params"),
        ("Pareto front", "accuracy, size, p50"),
    ]
    head = el("tr", *(el("th", title, small(detail), scope="col") for title, detail in columns))
    bodies = [el("tbody", *(_run_row(comparison, run) for run in group)) for group in comparison.groups]
    table = el("table", el("thead", head), *bodies, class_="models runs")
    loud = _list([*comparison.reasons, *comparison.warnings], "notes")
    return join([el("div", table, class_="scroll"), loud, _list(comparison.notes, "notes quiet")])


def _list(texts: Sequence[str], class_: str) -> Html:
    return el("ul", *(el("li", text) for text in texts), class_=class_) if texts else NOTHING


def _run_row(comparison: Comparison, run: RunFacts) -> Html:
    outcome = outcome_words(run)
    judged = join([" ", el("span", outcome, class_=f"tag {OUTCOME_TAGS[run.outcome]}")]) if outcome else NOTHING
    cells = [
        join([el("b", run.name), judged, small(f"{run.model}, {run.precision}")]),
        join([w.percent(run.accuracy), small(w.percent_interval(run.accuracy_ci95))]),
        w.kilobytes(run.size_bytes),
        *(_latency(comparison, place, run) for place in comparison.places),
        join([w.count(run.macs), small(w.count(run.params))]),
        _front(comparison, run),
    ]
    return el("tr", *(el("td", cell) for cell in cells))


def _latency(comparison: Comparison, place: str, run: RunFacts) -> Html:
    if place not in run.latencies:
        return el("span", "–", class_="muted")
    latency = run.latencies[place]
    words = group_words(comparison, place, latency)
    letter_tag = el("span", words, class_="tag quiet") if words else NOTHING
    p50, p99 = (w.milliseconds(value) for value in (latency.latency_ms.p50, latency.latency_ms.p99))
    return join([p50, small(p99), letter_tag])


def _front(comparison: Comparison, run: RunFacts) -> Html:
    lines = []
    for place, latency in run.latencies.items():
        kind = "tag pass" if latency.on_front else "muted"
        where = f"{place}: " if len(comparison.places) > 1 else ""
        lines.append(el("div", where, el("span", front_words(latency), class_=kind)))
    return join(lines)


def _plots(comparison: Comparison) -> Html:
    """Size for all runs on the same images, latency for those of them that were measured alike."""
    blocks = [_plot(cloud) for cloud in _clouds(comparison)]
    lead = el(
        "p",
        "Up and to the left is better. The line joins the runs that no other beats in the two figures drawn; what lies "
        "in its shade is beaten. Bars are 95 % intervals of accuracy.",
        class_="lead",
    )
    return join([lead, el("div", *blocks, class_="halves plots")]) if blocks else NOTHING


@dataclass(frozen=True)
class _Cloud:
    """Runs that may be drawn in one plot, and what each costs."""

    title: str
    detail: str
    runs: Sequence[RunFacts]
    costs: Sequence[float]
    unit: str


def _plot(cloud: _Cloud) -> Html:
    svg = cost_plot(f"{cloud.title}, {cloud.detail}", cloud.runs, cloud.costs, cloud.unit)
    return el("div", el("h3", cloud.title), el("p", cloud.detail, class_="muted"), figure(svg))


def _clouds(comparison: Comparison) -> Iterator[_Cloud]:
    for same in _together(comparison.runs, lambda run: run.test_group):
        images = f"{images_words(same[0])}; " if len({run.test_group for run in comparison.runs}) > 1 else ""
        yield _Cloud(
            "Size", f"{images}runs on the same test images", same, [run.size_bytes / 1000 for run in same], "size, kB"
        )
        for place in comparison.places:
            there = [run for run in same if place in run.latencies]
            for alike in _together(there, lambda run, place=place: run.latencies[place].group):  # type: ignore[misc]
                costs = [run.latencies[place].latency_ms.p50 for run in alike]
                detail = conditions_words(alike[0].latencies[place].conditions)
                yield _Cloud(f"Latency on {the_place(place)}", f"{images}{detail}", alike, costs, "latency p50, ms")


def _together(runs: Sequence[RunFacts], number: Callable[[RunFacts], int]) -> list[list[RunFacts]]:
    """Groups of two or more."""
    groups: dict[int, list[RunFacts]] = {}
    for run in runs:
        groups.setdefault(number(run), []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def _pairs(comparison: Comparison) -> Html:
    if not comparison.pairs:
        return NOTHING
    titles = ("first", "second", "difference", "only first", "only second", "McNemar", "more accurate")
    head = el("tr", *(el("th", title, scope="col") for title in titles))
    rows = [_pair_row(pair) for pair in comparison.pairs]
    lead = "First minus second, in percentage points; and how many images only one of the two gets right."
    table = el("table", el("thead", head), el("tbody", *rows), class_="pairs")
    return join([el("p", lead, class_="lead"), el("div", table, class_="scroll")])


def _pair_row(pair: Pair) -> Html:
    cells = [
        pair.first,
        pair.second,
        w.minus(w.points(pair.accuracy_difference)),
        *("–" if images is None else f"{images:,}" for images in (pair.only_first, pair.only_second)),
        "–" if pair.p_value is None else w.p_value(pair.p_value),
        el("span", more_accurate_words(pair), class_="tag pass" if pair.measured else "muted"),
    ]
    return el("tr", *(el("td", cell) for cell in cells))


def _settings(comparison: Comparison) -> Html:
    if not comparison.differences:
        return el("p", "The settings are the same in all runs.", class_="muted")
    names = [run.name for run in comparison.runs]
    head = el("tr", *(el("th", title, scope="col") for title in ("setting", *names)))
    rows = [
        el(
            "tr",
            el("td", el("code", difference.setting)),
            *(el("td", setting_words(difference.values, name)) for name in names),
        )
        for difference in comparison.differences
    ]
    return el("div", el("table", el("thead", head), el("tbody", *rows), class_="settings"), class_="scroll")


def _conditions(comparison: Comparison) -> Html:
    titles = ("", "runs", "CPU", "threads", "batch", "ONNX Runtime")
    head = el("tr", *(el("th", title, scope="col") for title in titles))
    rows = [row for place in comparison.places for row in _places_rows(comparison, place)]
    return el("div", el("table", el("thead", head), el("tbody", *rows), class_="places"), class_="scroll")


def _places_rows(comparison: Comparison, place: str) -> Iterator[Html]:
    there = [run for run in comparison.runs if place in run.latencies]
    for group in sorted({run.latencies[place].group for run in there}):
        alike = [run for run in there if run.latencies[place].group == group]
        facts = alike[0].latencies[place]
        where = join([el("b", place), " ", group_words(comparison, place, facts)])
        conditions = facts.conditions.model_dump().values()
        cells = [where, ", ".join(run.name for run in alike), *(str(value) for value in conditions)]
        yield el("tr", *(el("td", cell) for cell in cells))


def _reading() -> Html:
    texts = {
        "accuracy": "Each run's recommended file on its own test images. Compared only where the images are the same, "
        "pair by pair: McNemar's exact test looks at the images that only one of the two gets right. "
        f"At p ≥ 0.05 the page says “{w.NO_DIFFERENCE}”; of 20 pairs without any, one falls below by chance.",
        "latency": "Compared only with the same CPU, threads, batch and ONNX Runtime. The runs were measured one after "
        "another, not interleaved: edgekd bench measures them side by side.",
        "Pareto front": "A run is behind another that is no worse in accuracy, size and p50 latency, and better in "
        "one. The figures are taken as they stand, without their intervals.",
        "settings": "Seed, data, target, stages and budget as each report records them; those that are the same in all "
        "runs are left out. A dash: the run has no such setting.",
    }
    return definitions(texts, "measuring")


def _footer() -> Html:
    return el("footer", "edgekd compare · the same figures: edgekd compare --json")
