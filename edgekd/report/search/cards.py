"""The large figures at the top of a search's page: the best trial's file."""

from edgekd.report import wording as w
from edgekd.report.page.cards import Card
from edgekd.report.search.schema import Front


def cards(front: Front) -> list[Card]:
    """Accuracy, size and latency of the best trial's file, and what the search cost."""
    best = front.best_standing
    file, test = best.contender, best.on_test
    sizes = f"{w.kilobytes(file.size_bytes)} kB of {w.kilobytes(front.teacher.size_bytes)} kB"
    p50 = f"p50 {w.milliseconds(file.latency_ms.p50)} ms of {w.milliseconds(front.teacher.latency_ms.p50)} ms"
    interval = f"95 % interval {w.minus(w.points_interval(test.drop_ci95))}"
    measured = sum(trial.contender is not None for trial in front.trials)
    work, _, unit = w.seconds(front.seconds).partition(" ")
    return [
        Card("Size", *_times(file.size_ratio, "smaller", "larger"), (sizes,)),
        Card("Latency", *_times(file.latency_ratio.ratio, "faster", "slower"), (p50,)),
        Card("Accuracy on test", w.percent(test.accuracy).removesuffix(" %"), " %", (_drop(test.drop), interval)),
        Card("Work", work, f" {unit}", (f"{len(front.trials)} trials, {measured} of them measured",)),
    ]


def _times(ratio: float, less: str, more: str) -> tuple[str, str]:
    return f"{w.times(max(ratio, 1 / ratio))}×", f" {less if ratio <= 1 else more}"


def _drop(drop: float) -> str:
    """A difference to the teacher, with which the interval below has its sign.

    >>> _drop(0.0123), _drop(-0.0028)
    ('1.2 points below the teacher', '0.3 points above the teacher')
    """
    return f"{w.points(abs(drop)).lstrip('+')} points {'below' if drop > 0 else 'above'} the teacher"
