"""Notes for the report: what a reader should know beside the figures."""

from pathlib import Path

from edgekd.artifact import Artifact
from edgekd.report.notes import told_by_stages, trained_elsewhere
from edgekd.runtime import environment


def made(**differs: str) -> Artifact:
    return Artifact(Path("nowhere"), {"environment": {**environment(), **differs}})


def test_the_environment_says_what_decides_the_bits() -> None:
    assert {"vector instructions", "training threads", "torch", "numpy"} <= set(environment())


def test_a_stage_that_a_gpu_trained_says_so() -> None:
    trained, pruned = made(gpu="Some GPU"), made(gpu="Some GPU")
    trained.manifest["history"] = {"epochs": []}

    assert told_by_stages({"teacher": trained, "prune": pruned, "distill": made()}) == [
        "teacher: trained on a GPU (Some GPU): a CPU rounds otherwise and would leave other weights"
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
        "made here the weights might differ in their last bits",
        f"qat: made elsewhere (torch 2.0, here {here['torch']}): made here the weights might differ in their last bits",
    ]
