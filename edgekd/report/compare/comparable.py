"""Which runs are comparable, and why others are not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekd.report.compare.runs import Run
from edgekd.report.record import Record
from edgekd.report.schema import Latency
from edgekd.report.wording import images_at, listed

HOST = "host"


class Conditions(Record):
    """Conditions that must be equal for two latencies to be comparable."""

    cpu: str
    threads: int
    batch: int
    onnxruntime: str


@dataclass(frozen=True)
class Timing:
    """The recommended file's latency in one place, and its conditions."""

    latency_ms: Latency
    conditions: Conditions


def timings(run: Run) -> dict[str, Timing]:
    """Latencies by place: the host that ran the pipeline, then each device that measured the recommended file."""
    facts = run.report.target
    host = Conditions(cpu=facts.cpu, threads=facts.threads, batch=facts.batch, onnxruntime=facts.onnxruntime)
    found = {HOST: Timing(run.model.latency_ms, host)}
    for device in run.report.devices:
        # A device may happen to be called host; it is not the host of the run.
        name = device.name if device.name != HOST else f"{HOST} (device)"
        conditions = Conditions(
            cpu=device.cpu, threads=device.threads, batch=device.batch, onnxruntime=device.onnxruntime
        )
        for model in device.models:
            if model.id == run.report.recommended:
                found.setdefault(name, Timing(model.latency_ms, conditions))
    return found


def the_place(place: str) -> str:
    """A place in a sentence."""
    return "the host" if place == HOST else place


def grouped(runs: Sequence[Run], alike: Callable[[Run, Run], bool]) -> list[list[Run]]:
    """Groups of runs that are ``alike`` the first one of their group, in order."""
    groups: list[list[Run]] = []
    for run in runs:
        fitting = [group for group in groups if alike(group[0], run)]
        if fitting:
            fitting[0].append(run)
        else:
            groups.append([run])
    return groups


def same_test_images(one: Run, other: Run) -> bool:
    """By fingerprint: of the test images, or of the whole dataset if an old report has no other."""
    first, second = one.report.data, other.report.data
    known = bool(first.test_fingerprint and second.test_fingerprint)
    return first.fingerprint == second.fingerprint or (known and first.test_fingerprint == second.test_fingerprint)


def same_conditions(place: str) -> Callable[[Run, Run], bool]:
    """A function: was the latency of two runs in this place measured under the same conditions?"""
    return lambda one, other: timings(one)[place].conditions == timings(other)[place].conditions


def why_not_accuracy(groups: Sequence[Sequence[Run]]) -> list[str]:
    """One sentence for each group of runs but the first."""
    if not groups:
        return []
    first = groups[0][0]
    return [
        f"{_names(group)} {_were(group)} {_other_images(group[0], first)}: accuracies are not compared."
        for group in groups[1:]
    ]


def why_not_latency(place: str, groups: Sequence[Sequence[Run]]) -> list[str]:
    """One sentence for each group of runs but the first."""
    if not groups:
        return []
    first = groups[0][0]
    where = "" if place == HOST else f"On {place}, "
    return [
        f"{where}{_names(group)} {_were(group)} measured {_other_conditions(place, group[0], first)}: "
        "latencies are not compared."
        for group in groups[1:]
    ]


def _names(runs: Sequence[Run]) -> str:
    return listed([run.name for run in runs])


def _were(runs: Sequence[Run]) -> str:
    return "were" if len(runs) > 1 else "was"


def _other_images(run: Run, first: Run) -> str:
    found, base = run.report.data, first.report.data
    if not (found.test_fingerprint and base.test_fingerprint):
        return f"tested on images that need not be {first.name}'s (an older report does not say which)"
    facts, others = (f"{images_at(data.name, data.image_size)}, {data.test:,} images" for data in (found, base))
    if facts == others:
        facts, others = f"fingerprint {found.test_fingerprint[:8]}", base.test_fingerprint[:8]
    return f"tested on other images ({facts}; {first.name} on {others})"


def _other_conditions(place: str, run: Run, first: Run) -> str:
    found, base = timings(run)[place].conditions, timings(first)[place].conditions
    parts = []
    if found.cpu != base.cpu:
        parts.append(f"on another CPU ({found.cpu}, {first.name} on {base.cpu})")
    if found.threads != base.threads:
        parts.append(f"with other threads ({found.threads}, {first.name} with {base.threads})")
    if found.batch != base.batch:
        parts.append(f"at another batch ({found.batch}, {first.name} at {base.batch})")
    if found.onnxruntime != base.onnxruntime:
        parts.append(f"with another ONNX Runtime ({found.onnxruntime}, {first.name} with {base.onnxruntime})")
    return ", ".join(parts)
