"""Notes for the report: what a reader should know beside the figures."""

from pathlib import Path

from edgekd.artifact import Artifact
from edgekd.report.notes import trained_elsewhere
from edgekd.runtime import environment


def made(**differs: str) -> Artifact:
    return Artifact(Path("nowhere"), {"environment": {**environment(), **differs}})


def test_the_environment_says_what_decides_the_bits() -> None:
    assert {"vector instructions", "training threads", "torch", "numpy"} <= set(environment())


def test_stages_of_another_gpu_or_of_none_are_named() -> None:
    stages = {"teacher": made(gpu="A"), "qat": made()}
    on_none, on_another = (trained_elsewhere(stages, {**environment(), **gpu}) for gpu in ({}, {"gpu": "B"}))

    assert [note.partition("):")[0] for note in on_none] == ["teacher: made elsewhere (gpu A, here none"]
    assert [note.partition("):")[0] for note in on_another] == [
        "teacher: made elsewhere (gpu A, here B",
        "qat: made elsewhere (gpu none, here B",
    ]


def test_stages_that_were_made_elsewhere_are_named_with_what_differs() -> None:
    stages = {
        "teacher": made(**{"training threads": "16"}),
        "prune": made(),
        "distill": made(**{"training threads": "16"}),
        "qat": made(torch="2.0", cores="64"),
        "old": Artifact(Path("nowhere"), {"environment": {}}),
    }
    here = environment()

    notes = trained_elsewhere(stages, here)

    assert notes == [
        f"teacher, distill: made elsewhere (training threads 16, here {here['training threads']}): "
        "made here the weights might not be the same",
        f"qat: made elsewhere (torch 2.0, here {here['torch']}): made here the weights might not be the same",
    ]
