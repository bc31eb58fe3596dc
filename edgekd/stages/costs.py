"""What a network costs at other widths, found before it has them: latency and bytes of its integer file."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgekd.config.target import Target
from edgekd.errors import ExportError
from edgekd.ondevice.child import in_own_process
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.rounds import Load
from edgekd.onnx_export import Template, Weighted, export_onnx, pack, sliced, template_of, unpacked_file
from edgekd.pruning.group import Group
from edgekd.quantization import QuantizedModel, float_graph, layers_in_order
from edgekd.zoo import ModelSpec, example_images, fingerprint

FILES_A_PROCESS = 8
"""Measured in turns, in one process."""


@dataclass
class Files:
    """The files of a network at any widths; what is measured lies in a folder for a while.

    Args:
        folder: where.
        template: of the integer file.
        groups: of the network.
        target: with how many threads and images it runs.
        float_ms: p50 of the float file of the whole network, once measured.
    """

    folder: Path
    template: Template
    groups: Sequence[Group]
    target: Target
    float_ms: float = field(init=False)

    def __post_init__(self) -> None:
        self.float_ms = float(np.median(self._rounds([self._floating], 0)[0]))

    def of(self, keep: Sequence[int]) -> tuple[Any, tuple[Weighted, ...]]:
        """The integer file in which each group keeps that many channels, and what its layers do."""
        outputs = {layer: kept for group, kept in zip(self.groups, keep, strict=True) for layer in group.layers}
        found = sliced(self.template, outputs)
        return found.model, found.nodes

    def size_bytes(self, keep: Sequence[int]) -> int:
        """Bytes of the integer file at these widths."""
        model, _ = self.of(keep)
        pack(model)
        return len(model.SerializeToString())

    def latency_ms(self, plans: Sequence[Sequence[int]], seed: int) -> list[float]:
        """p50 of the integer file at each of some widths.

        Each is measured in turns with the float file of the whole network, so that slow phases of the machine cancel.

        Raises:
            ExportError: ONNX Runtime refuses a file.
        """
        found: list[float] = []
        for start in range(0, len(plans), FILES_A_PROCESS):
            some = [self._written(number, plan) for number, plan in enumerate(plans[start : start + FILES_A_PROCESS])]
            floats, *own = self._rounds([self._floating, *some], seed + start)
            found += [float(np.median(rounds / floats)) * self.float_ms for rounds in own]
        return found

    @property
    def _floating(self) -> Path:
        return self.folder / "float.onnx"

    def _written(self, number: int, keep: Sequence[int]) -> Path:
        path = self.folder / f"{number}.onnx"
        path.write_bytes(self.of(keep)[0].SerializeToString())
        return path

    def _rounds(self, paths: Sequence[Path], seed: int) -> Any:
        """Each file's median per round, shape ``(files, rounds)``, milliseconds."""
        try:
            found = in_own_process("time", paths, Load(self.target.threads, self.target.batch), (seed,))
        except Fault as fault:
            raise ExportError(fault.where, fault.problem, fault.remedy) from None
        return np.array(found["rounds_ms"])


@contextlib.contextmanager
def files_of(model: nn.Module, spec: ModelSpec, groups: Sequence[Group], target: Target) -> Iterator[Files]:
    """The files of a network at any widths.

    Args:
        model: a float network; it stays as it is.
        spec: how it was built.
        groups: of its channels.
        target: decides the integers, threads and batch.

    Raises:
        QuantizationError: the network cannot be captured or quantized.
        ExportError: it cannot be exported, or its widths cannot be followed through its file.
    """
    known_as = fingerprint(model, spec)
    quantized = QuantizedModel(model, spec, target.scheme, known_as)
    quantized.calibrate([example_images(spec, batch=2)])
    template = template_of(unpacked_file(quantized.integers(), spec), layers_in_order(quantized.graph))
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        folder = Path(scratch)
        export_onnx(float_graph(model, spec, known_as), spec, folder / "float.onnx")
        yield Files(folder, template, groups, target)
