"""Finds the settings in which runs differ."""

from collections.abc import Iterator, Mapping

from pydantic import Field

from edgekd.report.record import Record
from edgekd.report.schema import Report

Flat = dict[str, object]
SHARED = ("seed", "data", "target", "budget")


class Difference(Record):
    """One setting that is not the same in all runs."""

    setting: str = Field(description="dotted, as in distill.temperature; a stage's id alone where some runs lack it")
    values: dict[str, object] = Field(description="run -> value; runs that have no such setting are left out")


def differences(reports: Mapping[str, Report]) -> list[Difference]:
    """The settings that differ: seed, data, target, stages in order, budget.

    A stage that some runs lack is one difference; its settings are compared among those that have it.

    Args:
        reports: run's name -> its report.
    """
    recorded = all(report.data.settings for report in reports.values())
    sections = {run: _sections(report, recorded) for run, report in reports.items()}
    return [
        difference
        for section in dict.fromkeys(name for every in sections.values() for name in every)
        for difference in _between(
            section, {run: every[section] for run, every in sections.items() if section in every}, len(reports)
        )
    ]


def _sections(report: Report, recorded: bool) -> dict[str, Flat]:
    """Settings by section; of the data only name and size if a report records no more."""
    data = report.data.settings if recorded else {"name": report.data.name, "image_size": report.data.image_size}
    target = {"isa": report.target.isa, "threads": report.target.threads, "batch": report.target.batch}
    stages = {
        # A stage may be called ``data`` or ``budget``: its settings must not be mixed with the pipeline's.
        f"stages.{stage.id}" if stage.id in SHARED else stage.id: _flat(stage.settings)
        for stage in report.stages
    }
    return {
        "seed": {"": report.seed},
        "data": _flat(data),
        "target": _flat(target),
        **{name: {key: value for key, value in settings.items() if key != "id"} for name, settings in stages.items()},
        "budget": {key: value for key, value in report.budget.items() if value is not None},
    }


def _between(section: str, settings: Mapping[str, Flat], runs: int) -> Iterator[Difference]:
    if len(settings) < runs:
        yield Difference(setting=section, values={run: found.get("stage", "yes") for run, found in settings.items()})
    for key in dict.fromkeys(key for found in settings.values() for key in found):
        values = {run: found[key] for run, found in settings.items() if key in found}
        if len(values) < len(settings) or any(
            not _same(value, next(iter(values.values()))) for value in values.values()
        ):
            yield Difference(setting=f"{section}.{key}".rstrip("."), values=values)


def _same(one: object, other: object) -> bool:
    """Are two values the same setting? 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _flat(settings: Mapping[str, object]) -> Flat:
    """Nested settings under dotted keys; lists stay values.

    >>> _flat({"input": {"dtype": "uint8"}, "opset": 21})
    {'input.dtype': 'uint8', 'opset': 21}
    """
    flat: Flat = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{inner}": found for inner, found in _flat(value).items()}
        else:
            flat[key] = value
    return flat
