"""Paired comparison of files on the same images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekd.report.roles import reference
from edgekd.report.schema import ModelReport, Paired, Rival
from edgekd.training.significance import mcnemar_p, paired_interval

if TYPE_CHECKING:
    from torch import Tensor


def paired_test(teacher: "Tensor", model: "Tensor") -> Paired:
    """McNemar's exact test of two files.

    Args:
        teacher: images that the one gets right, bool, shape ``(count,)``.
        model: images that the other gets right, same shape.
    """
    only_teacher, only_model = int((teacher & ~model).sum()), int((~teacher & model).sum())
    return Paired(
        both=int((teacher & model).sum()),
        only_teacher=only_teacher,
        only_model=only_model,
        neither=int((~teacher & ~model).sum()),
        p_value=mcnemar_p(only_teacher, only_model),
    )


def drop_interval(paired: Paired) -> tuple[float, float]:
    """95 % interval of the accuracy drop."""
    return paired_interval(paired.both, paired.only_teacher, paired.only_model, paired.neither)


def rivals(
    recommended: str, models: Sequence[ModelReport], chosen: Mapping[str, "Tensor"], labels: "Tensor"
) -> list[Rival]:
    """Every student against the recommended one; none if that is the teacher, with which all are paired anyway.

    Args:
        recommended: a file's id.
        models: every measured file.
        chosen: file's id -> the class that it gave each test image, shape ``(count,)``.
        labels: the right classes, same shape.
    """
    base = reference(models)
    if base is None or recommended == base.id:
        return []
    return [
        _rival(model.id, chosen[recommended] == labels, chosen[model.id] == labels)
        for model in models
        if model.id not in (recommended, base.id)
    ]


def _rival(id: str, recommended: "Tensor", rival: "Tensor") -> Rival:
    found = paired_test(recommended, rival)
    return Rival(
        id=id,
        difference=found.drop,
        ci95=drop_interval(found),
        only_recommended=found.only_teacher,
        only_rival=found.only_model,
        p_value=found.p_value,
    )
