"""The kernels that ONNX Runtime runs; files with equal ones are grouped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.report import wording as w
from edgekd.report.roles import integer_share
from edgekd.report.schema import ModelReport, Report


@dataclass(frozen=True)
class Alike:
    """Files whose optimised graphs have the same operators.

    Args:
        ops: operator and its count, the most frequent first.
        left_float: an integer file's id -> its float kernels, by layer.
    """

    names: str
    counted: str
    ops: Sequence[tuple[str, int]]
    left_float: Mapping[str, Sequence[str]]


def kernels(report: Report) -> list[Alike]:
    """Every operator of each optimised graph."""
    groups: dict[str, list[ModelReport]] = {}
    for model in report.models:
        if model.kernels.ops:
            groups.setdefault(f"{model.precision} {model.kernels.ops}", []).append(model)
    return [_alike(models) for models in groups.values()]


def _alike(models: Sequence[ModelReport]) -> Alike:
    first = models[0]
    left = {model.id: model.kernels.float_ops for model in models if model.precision != "float32"}
    return Alike(
        names=", ".join(model.id for model in models),
        counted=_counted(first),
        ops=sorted(first.kernels.ops.items(), key=lambda op: (-op[1], op[0])),
        left_float={id: operators for id, operators in left.items() if operators},
    )


def _counted(model: ModelReport) -> str:
    share = integer_share(model)
    if model.precision == "float32" or share is None:
        return f"{model.kernels.float} float kernels"
    return f"{model.kernels.integer} integer, {model.kernels.float} float: {w.percent(share)} integer"
