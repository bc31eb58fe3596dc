"""Where a file and the torch model that it was made of part: by rounding, by saturation, or by a wrong graph.

Agreement of the answers does not tell: a weak model's classes lie so near to each other that one rounded number turns
its answer. So each tensor that ONNX Runtime computed is held against what torch computes of the same inputs: what is
right is off by a rounding step at most, however far apart the two runs are by then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx

from edgekd import onnx_export
from edgekd.config.schemes import Scheme
from edgekd.data import Split, ValueRange, as_input, in_units
from edgekd.onnx_export import ort
from edgekd.stages.manifests import Drift

IMAGES = 32
STEPS = 1.5
"""Of rounding: a number that is off by more was not rounded to the other side."""
TIES = 2
"""So many numbers may be rounded to the other side in any tensor: some hold 32."""
MOST_TIES = 0.02
"""Share of a tensor's numbers that may be rounded to the other side."""
FLOAT_ERROR = 1e-3
"""Of the largest number of a tensor that is not rounded."""

Kind = Literal["rounding", "saturation", "graph"]


@dataclass(frozen=True)
class Local:
    """How far one tensor is off, given the same inputs.

    Args:
        layer: the tensor's name in the file.
        largest: in rounding steps; of a float tensor in parts of its largest number.
        share: of its numbers that are off by more than half a step, beyond a few ties; 0 for a float tensor.
        right: is it what rounding explains?
    """

    layer: str
    largest: float
    share: float
    right: bool


def explained(
    graph: fx.GraphModule,
    path: Path,
    val: Split,
    torch_logits: np.ndarray,
    logits: np.ndarray,
    *,
    exact: bool,
    scheme: Scheme | None,
) -> Drift:
    """Why a file's logits on val lead to other choices than torch's.

    Args:
        graph: what was exported.
        path: the file.
        val: the images.
        torch_logits: shape ``(count, classes)``.
        logits: the file's, same shape.
        exact: the file was run operator by operator.
        scheme: of its integers; None where it holds floats.
    """
    images = int((logits.argmax(1) != torch_logits.argmax(1)).sum())
    wrong = _wrong(graph, path, val, exact)
    kind: Kind = "rounding"
    if wrong:
        kind = "graph" if exact or _wrong(graph, path, val, True) else "saturation"
    return Drift(
        kind=kind,
        images=images,
        total=len(val),
        largest=float(np.abs(logits - torch_logits).max()),
        layers=[local.layer for local in wrong],
        remedy=remedy(kind, scheme),
    )


def _wrong(graph: fx.GraphModule, path: Path, val: Split, exact: bool) -> list[Local]:
    return [local for local in followed(graph, path, spread(val), exact=exact, unit=val.unit) if not local.right]


def spread(split: Split, images: int = IMAGES) -> Tensor:
    """Images of all of a split, uint8: where it is sorted by class, its first ones show one class alone."""
    chosen = torch.linspace(0, len(split) - 1, min(images, len(split))).round().long()
    return split.images[chosen]


def followed(
    graph: fx.GraphModule, path: Path, pixels: Tensor, *, exact: bool = False, unit: ValueRange | None = None
) -> list[Local]:
    """Every tensor of a file against torch's of the same inputs, the worst first.

    Args:
        graph: what was exported.
        path: the file.
        pixels: uint8 images, shape ``(count, height, width, channels)``.
        exact: run the file operator by operator.
        unit: what the pixels are levels of, if the file takes other numbers.
    """
    tapped, names = onnx_export.with_taps(path)
    given = pixels if unit is None else in_units(pixels, unit)
    found = ort.session(tapped, exact=exact).run(names, {onnx_export.INPUT: given.numpy()})
    images = as_input(pixels)
    follower = _Follower(onnx_export.recaptured(graph, images), dict(zip(names, found, strict=True)))
    with torch.inference_mode():
        follower.run(images)
    return sorted(follower.found, key=lambda local: (local.right, -local.largest))


class _Follower(fx.Interpreter):
    """Runs torch's graph, and puts the file's tensors in the place of torch's, so that no difference grows."""

    def __init__(self, graph: fx.GraphModule, others: dict[str, np.ndarray]) -> None:
        super().__init__(graph)
        self.others, self.found = others, list[Local]()
        self.replaced: dict[fx.node.Argument, Tensor] = {}
        rounds = any("dequantize_per_tensor" in str(node.target) for node in graph.graph.nodes)
        self.compare: Callable[[fx.Node, Tensor], Tensor] = self._rounded if rounds else self._float

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        return self.compare(n, value) if isinstance(value, Tensor) else value

    def _rounded(self, n: fx.Node, value: Tensor) -> Tensor:
        if "dequantize_per_tensor" not in str(n.target):
            return value
        if n.name in self.others:
            other, scale = torch.from_numpy(self.others[n.name]), float(n.args[1])  # type: ignore[arg-type]
            off = (value - other).abs() / scale
            share = max(0, int((off > 0.5).sum()) - TIES) / off.numel()
            largest = float(off.max())
            self.found.append(Local(n.name, largest, share, largest < STEPS and share < MOST_TIES))
            self.replaced[n.args[0]] = other
        return self.replaced.get(n.args[0], value)  # the file has one dequantizer where torch has one per reader

    def _float(self, n: fx.Node, value: Tensor) -> Tensor:
        if n.name not in self.others:
            return value
        other = torch.from_numpy(self.others[n.name])
        largest = float((value - other).abs().max() / (value.abs().max() + 1e-12))
        self.found.append(Local(n.name, largest, 0.0, largest < FLOAT_ERROR))
        return other


def remedy(kind: Kind, scheme: Scheme | None) -> str:
    """What a user can do that is not done already; ``scheme``: of the file."""
    if kind == "rounding":
        return ""
    narrower = scheme is not None and not scheme.exact_on("x86-avx2")
    return "declare target.isa: x86-avx2" if kind == "saturation" and narrower else "report the network"
