"""The large figures at the top of a comparison: the best of the runs that are comparable in every figure."""

from collections.abc import Callable, Iterator, Sequence

from edgekd.report import wording as w
from edgekd.report.compare.comparable import HOST
from edgekd.report.compare.comparison import Pair, RunFacts
from edgekd.report.compare.wording import more_accurate_words
from edgekd.report.page.cards import Card


def cards(group: Sequence[RunFacts], pairs: Sequence[Pair]) -> list[Card]:
    """Accuracy, size, latency and the Pareto front; none for a single run."""
    if len(group) == 1:
        return []
    best = max(group, key=lambda run: run.accuracy)
    size, smallest = _least(group, lambda run: run.size_bytes, lambda run: w.kilobytes(run.size_bytes))
    p50, quickest = _least(group, _host_p50, lambda run: w.milliseconds(_host_p50(run)))
    on_front = [run.name for run in group if run.latencies[HOST].on_front]
    accuracy = w.percent(best.accuracy).removesuffix(" %")
    return [
        Card("Most accurate", accuracy, " %", tuple(_most_accurate(best.name, pairs, {run.name for run in group}))),
        Card("Smallest", size, " kB", (smallest,)),
        Card("Lowest latency", p50, " ms", (quickest, "p50 on the host, each run by itself")),
        Card("On the Pareto front", str(len(on_front)), f" of {len(group)}", (", ".join(on_front),)),
    ]


def _host_p50(run: RunFacts) -> float:
    return run.latencies[HOST].latency_ms.p50


def _least(
    group: Sequence[RunFacts], cost: Callable[[RunFacts], float], words: Callable[[RunFacts], str]
) -> tuple[str, str]:
    """The lowest cost in words, and all runs that share it in the digits shown."""
    least = words(min(group, key=cost))
    return least, ", ".join(run.name for run in group if words(run) == least)


def _most_accurate(best: str, pairs: Sequence[Pair], names: set[str]) -> Iterator[str]:
    """The most accurate run, and those not measurably different from it."""
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
