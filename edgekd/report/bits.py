"""What the range of the weights costs: one float model as integers of several widths, calibrated and trained."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from edgekd.config.schemes import Scheme
from edgekd.report.paired import paired_test
from edgekd.report.schema import LayerLoss, Quantization, WeightBits
from edgekd.report.subject import Measured, Subject
from edgekd.stages.manifests import ExportedFile, ExportedFiles, IntegerModel, manifest_of
from edgekd.store.artifacts import Artifact


def quantization(subject: Subject, exported: Artifact, measured: Measured, recommended: str) -> Quantization | None:
    """The student in each width that the pipeline made, calibrated and trained; None where nothing is quantized.

    The student is the recommended file's where that holds integers, else the first that was quantized.
    """
    quantized = {name: done.made for name, done in subject.stages.items() if isinstance(done.made, IntegerModel)}
    if not quantized:
        return None
    stage = next(file.stage for file in measured.files if file.id == recommended)
    name = stage if stage in quantized else next(iter(quantized))
    found, source = quantized[name], subject.sources[name]
    every = manifest_of(exported, ExportedFiles).exported
    same = [file for file in every if file.integers and subject.sources[file.stage] == source]
    same = sorted(same, key=lambda file: file.stage == name)  # where two stages made one width, this one's comes last
    right = {key: chosen == subject.data.test.labels for key, chosen in measured.chosen.items() if "/val" not in key}
    used = found.scheme
    return Quantization(
        source=source,
        declared_bits=used.weight_bits,
        declared_name=used.words,
        calibrated=_by_width(same, quantized, right, used),
        kept=found.quantized.kept,
        ptq_val_accuracy=found.quantized.ptq_val_accuracy,
        qat_val_accuracy=found.quantized.qat_val_accuracy,
        layers=[
            LayerLoss(bits=found.quantized.chosen[each.layer], **each.model_dump())
            for each in found.quantized.sensitivity
        ],
    )


def _by_width(
    files: Sequence[ExportedFile],
    stages: Mapping[str, IntegerModel],
    right: Mapping[str, Tensor],
    used: Scheme,
) -> list[WeightBits]:
    """One row for each width, fewest bits first.

    Args:
        files: of one float model.
        stages: what the stages of the files left.
        right: which images a file gets right, by its id; run exactly, by ``id/exact``.
        used: the width that the others are held against.
    """
    found: dict[Scheme, dict[str, ExportedFile]] = {}
    for file in files:
        assert file.integers is not None
        found.setdefault(file.integers, {})[_how(file, stages)] = file
    base = found.get(used, {}).get("calibrated")
    return [
        _row(scheme, found[scheme], right, right[base.id] if base is not None and scheme != used else None)
        for scheme in sorted(found, key=lambda scheme: scheme.weight_bits)
        if "calibrated" in found[scheme]
    ]


def _how(file: ExportedFile, stages: Mapping[str, IntegerModel]) -> str:
    """How a file's integers were found: calibrated, or trained with the labels alone or with a teacher."""
    if file.calibrated:
        return "calibrated"
    return "teacher" if "teacher" in stages[file.stage].facts.parents else "labels"


def _row(
    scheme: Scheme, files: Mapping[str, ExportedFile], right: Mapping[str, Tensor], base: Tensor | None
) -> WeightBits:
    accuracy = {how: float(right[file.id].float().mean()) for how, file in files.items()}
    calibrated = files["calibrated"]
    return WeightBits(
        bits=scheme.weight_bits,
        name=scheme.words,
        size_bytes=calibrated.size_bytes,
        as_shipped=accuracy["calibrated"],
        exact=float(right[f"{calibrated.id}/exact"].float().mean()),
        total=len(right[calibrated.id]),
        with_labels=accuracy.get("labels"),
        with_teacher=accuracy.get("teacher"),
        against_used=None if base is None else paired_test(base, right[calibrated.id]),
    )
