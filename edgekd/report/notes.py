"""Notes for the report: what a reader should know besides the figures."""

from collections.abc import Mapping, Sequence

from edgekd.config.target import Target
from edgekd.ondevice.machine import host_isa
from edgekd.report.schema import ModelReport
from edgekd.report.wording import drift
from edgekd.stages.manifests import StageManifest

DECIDES_BITS = ("vector instructions", "training threads", "torch", "torchvision", "torchao", "numpy", "gpu")
"""Entries of an environment that decide how sums are rounded."""
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
# A record made without a GPU has no such entry, and must still differ from one that names a GPU.
WITHOUT_GPU = {"gpu": "none"}


def measured_elsewhere(target: Target) -> list[str]:
    """A note if the files are for another kind of CPU than the one that measured them."""
    if target.resolved_isa in (host_isa(), "any"):
        return []
    return [
        f"the files are for {target.resolved_isa}, measured here on {host_isa()}: latency is this machine's, "
        f"and so is whatever its integer multiply costs in accuracy"
    ]


def told_by_stages(stages: Mapping[str, StageManifest]) -> list[str]:
    """The notes of the stages."""
    return [f"{name}: {text}" for name, made in stages.items() for text in made.told]


def trained_elsewhere(stages: Mapping[str, StageManifest], here: Mapping[str, str]) -> list[str]:
    """Notes about stages made in an environment in which the same file and seed may give other bits than here."""
    notes: dict[str, list[str]] = {}
    here = {**WITHOUT_GPU, **here}
    for name, made in stages.items():
        there = {**WITHOUT_GPU, **made.environment}
        differs = [
            f"{key} {there[key]}, here {here[key]}" for key in DECIDES_BITS if there.get(key, here[key]) != here[key]
        ]
        if differs:
            notes.setdefault("; ".join(differs), []).append(name)
    return [
        f"{', '.join(names)}: made elsewhere ({differs}): made here the weights might not be the same"
        for differs, names in notes.items()
    ]


def told_by_files(models: Sequence[ModelReport], recommended: str) -> list[str]:
    """Notes about files that learned too little, differ from torch, are not faster, or are not wholly integer.

    What the recommended file has not learned is shown in red instead. Pruned networks that were not trained again are
    not expected to have learned anything.
    """
    notes = []
    for model in models:
        if model.id != recommended and model.stage != "prune":
            notes += [f"{model.id} {text}" for text in model.warnings]
        if model.drift is not None:
            notes.append(f"{model.id}: {drift(model.drift)}")
        ratio = model.source_ratio
        if ratio is not None and ratio.ci95[1] >= 1:
            what = "is slower than" if ratio.ci95[0] > 1 else "shows no difference in latency to"
            figures = f"{ratio.ratio:.2f} [{ratio.ci95[0]:.2f}, {ratio.ci95[1]:.2f}]"
            notes.append(f"{model.id} {what} the float {model.source}: ratio {figures}; {_kernels(model)}")
        if model.precision != "float32" and model.kernels.float:
            notes.append(
                f"{model.id} is not wholly integer: {model.kernels.float} float kernels, "
                f"{_some(model.kernels.float_ops)}"
            )
    return notes


def _kernels(model: ModelReport) -> str:
    """Counts of kernels; what each costs was not measured."""
    kernels = model.kernels
    conversions = sum(kernels.ops.get(name, 0) for name in CONVERSIONS)
    return (
        f"it runs {kernels.integer} integer and {kernels.float} float kernels; conversions between them: {conversions}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
