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

FLOAT, FILES_A_PROCESS = "float.onnx", 8
"""Name of the float file; how many are measured in turns, in one process."""


@dataclass
class Files:
    """The files of a network at any widths; what is measured lies in a folder for a while.

    Args:
        folder: where; the float file of the whole network is there.
        template: of the integer file.
        groups: of the network.
        target: with how many threads and images it runs.
        floats_ms: p50 of the float file in every process so far.
    """

    folder: Path
    template: Template
    groups: Sequence[Group]
    target: Target
    floats_ms: list[float] = field(default_factory=list)

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

    def ratios(self, plans: Sequence[Sequence[int]], seed: int, processes: int) -> list[float]:
        """p50 of the integer file at each of some widths, divided by that of the float file of the whole network.

        Measured in turns with that, so that slow phases of the machine cancel; in several processes, in each of which
        other addresses make each file a few percent faster or slower.

        Raises:
            ExportError: ONNX Runtime refuses a file.
        """
        found: list[float] = []
        for start in range(0, len(plans), FILES_A_PROCESS):
            some = [self._written(number, plan) for number, plan in enumerate(plans[start : start + FILES_A_PROCESS])]
            logs = [self._logs(some, (seed, start, number)) for number in range(processes)]
            found += np.exp(np.mean(logs, axis=0)).tolist()
        return found

    def latency_ms(self, plans: Sequence[Sequence[int]], seed: int, processes: int) -> list[float]:
        """The same in milliseconds."""
        ratios = self.ratios(plans, seed, processes)
        return [ratio * float(np.median(self.floats_ms)) for ratio in ratios]

    def _logs(self, paths: Sequence[Path], seed: Sequence[int]) -> Any:
        """Logarithms of ratios in a process of its own, shape ``(files,)``."""
        load = Load(self.target.threads, self.target.batch)
        try:
            found = in_own_process("time", [self.folder / FLOAT, *paths], load, seed)
        except Fault as fault:
            raise ExportError(fault.where, fault.problem, fault.remedy) from None
        floats, *own = np.array(found["rounds_ms"])
        self.floats_ms.append(float(np.median(floats)))
        return np.median(np.log(np.array(own) / floats), axis=1)

    def _written(self, number: int, keep: Sequence[int]) -> Path:
        path = self.folder / f"{number}.onnx"
        path.write_bytes(self.of(keep)[0].SerializeToString())
        return path


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
        export_onnx(float_graph(model, spec, known_as), spec, folder / FLOAT)
        yield Files(folder, template, groups, target)
