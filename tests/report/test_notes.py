"""Notes for the report: what a reader should know beside the figures."""

import pytest

from edgekd.report.notes import told_by_files, trained_elsewhere
from edgekd.report.schema import Kernels, Ratio
from edgekd.stages.manifests import StageManifest
from edgekd.training.environment import environment
from tests.made import nothing_exported
from tests.report.samples import sample_model, sample_unlearned_report


def made(**differs: str) -> StageManifest:
    return nothing_exported(environment={**environment(), **differs})


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
        "old": nothing_exported(),
    }
    here = environment()

    notes = trained_elsewhere(stages, here)

    assert notes == [
        f"teacher, distill: made elsewhere (training threads 16, here {here['training threads']}): "
        "made here the weights might not be the same",
        f"qat: made elsewhere (torch 2.0, here {here['torch']}): made here the weights might not be the same",
    ]


@pytest.mark.parametrize(("left", "ops"), [(0, {"QLinearConv": 64, "DequantizeLinear": 1}), (3, {"QuantizeLinear": 2})])
def test_an_integer_file_that_gains_no_time_is_told_with_what_was_counted_and_no_cause(
    left: int, ops: dict[str, int]
) -> None:
    kernels = Kernels(integer=64, float=left, float_ops=["HardSwish a"] * left, ops=ops)
    slow = {"source": "distill", "source_ratio": Ratio(ratio=1.09, ci95=(1.07, 1.11)), "kernels": kernels}

    note = told_by_files([sample_model("qat").model_copy(update=slow)], "qat")[0]

    conversions = 2 if left else 1
    assert note == (
        "qat is slower than the float distill: ratio 1.09 [1.07, 1.11]; "
        f"it runs 64 integer and {left} float kernels; conversions between them: {conversions}"
    )


def test_what_files_have_not_learned_is_told_but_of_the_recommended_one_and_of_those_only_pruned() -> None:
    notes = told_by_files(sample_unlearned_report().models, "qat")

    assert [note.partition(" never")[0] for note in notes] == ["distill", "ptq"]
