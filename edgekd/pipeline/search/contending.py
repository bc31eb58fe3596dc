"""Files measured beside the teacher that all trials are compared with, so that the rule of verdicts can choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from edgekd.ondevice.latency import Latencies, paired_ratio, percentiles
from edgekd.pipeline.search.measuring import Measurer, TrialFile
from edgekd.report.paired import paired_test
from edgekd.report.schema import Drift, Latency, Ratio
from edgekd.report.search.schema import Contender


@dataclass(frozen=True)
class Reference:
    """What every trial is compared with: the pipeline file's own teacher.

    Args:
        file: exported.
        right: which images of val it gets right, bool, shape ``(count,)``.
        labels: of val.
        seconds: that its training took.
    """

    file: TrialFile
    right: torch.Tensor
    labels: torch.Tensor
    seconds: float

    @property
    def accuracy(self) -> float:
        """On val, 0..1."""
        return float(self.right.double().mean())


@dataclass(frozen=True)
class Contest:
    """Files measured in the same rounds.

    Args:
        teacher: the reference.
        files: the others, in order, by the names that they were given.
    """

    teacher: Contender
    files: Sequence[Contender]
    latencies: Latencies

    def ratio(self, one: str, other: str) -> tuple[float, tuple[float, float]]:
        """Paired latency ratio of two files, the teacher not among them."""
        names, rounds = [file.id for file in self.files], self.latencies.rounds_ms[1:]
        return paired_ratio(rounds[names.index(one)], rounds[names.index(other)])


def contest(measurer: Measurer, reference: Reference, files: Mapping[str, TrialFile]) -> Contest:
    """Measure files on val and in latency.

    Args:
        measurer: of this machine.
        reference: what accuracy, bytes and latency refer to.
        files: by a name for each.
    """
    everything = [reference.file, *files.values()]
    latencies = measurer.latencies(everything)
    rights = [reference.right, *(measurer.right(file, "val") for file in files.values())]
    names = [reference.file.about.id, *files]
    found = [_contender(name, everything, rights, latencies, number) for number, name in enumerate(names)]
    return Contest(found[0], found[1:], latencies)


def _contender(
    name: str, files: Sequence[TrialFile], rights: Sequence[torch.Tensor], latencies: Latencies, number: int
) -> Contender:
    about, teacher = files[number].about, files[0].about
    ratio, ci95 = paired_ratio(latencies.rounds_ms[number], latencies.rounds_ms[0])
    return Contender(
        id=name,
        stage=files[number].stage,
        precision=about.precision,
        sha256=about.sha256,
        size_bytes=about.size_bytes,
        size_ratio=about.size_bytes / teacher.size_bytes,
        macs=about.macs,
        params=about.params,
        latency_ms=Latency.model_validate(percentiles(latencies.runs_ms[number])),
        latency_ratio=Ratio(ratio=ratio, ci95=ci95),
        val_paired=paired_test(rights[0], rights[number]),
        drift=Drift(**about.drift.model_dump()) if about.drift else None,
    )
