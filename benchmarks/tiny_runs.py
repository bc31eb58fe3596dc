"""Whole pipeline runs of the smallest chain, each in a process of its own that may be killed.

Processes are forked from one that has imported everything and exported a network, but trained none, so that a run takes
seconds.
"""

import gc
import hashlib
import importlib
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import onnxruntime
import torch
from torch import nn

from edgekd.config.progress import Progress
from edgekd.config.schemes import INT8
from edgekd.ondevice.machine import cpu_name
from edgekd.onnx_export import export_onnx
from edgekd.pipeline import Pipeline
from edgekd.quantization import QuantizedModel
from edgekd.training.environment import environment
from edgekd.zoo import ModelSpec, random_images
from tests.chain import TINY, write_pipeline

STAGES = ("teacher", "prune", "distill", "qat", "export", "report")
DIFFER = {"manifest.json", "latency.json"}
"""Files that hold times, which differ from run to run."""


def _export_once() -> None:
    """What torch sets up when it exports for the first time takes seconds, and lasts.

    Nothing is trained: a backward pass would start autograd's threads, which a fork loses.
    """
    spec = ModelSpec(name="hand-made", num_classes=2, in_channels=1, image_size=8)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    quantized = QuantizedModel(network.eval(), spec, INT8)
    quantized.calibrate([random_images(spec, 4)])
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(quantized.integers(), spec, Path(folder) / "model.onnx")


# OMP_NUM_THREADS=1 is for whoever starts this: a pool of threads, made here, would be lost in a fork
for module in (
    "torch.onnx",
    "onnxscript",
    "torch.export",
    "torch_pruning",
    "torchao.quantization.pt2e.quantize_pt2e",
    "matplotlib.figure",
    "sklearn.datasets",
    "edgekd.report.page.plots",
):
    importlib.import_module(module)  # what a run would import late
_export_once()
gc.freeze()  # nor would a process look through all this for garbage, and copy it by that
gc.set_threshold(50_000, 20, 50)


class Log(Progress):
    """Writes down when a run tells what, a line each."""

    def __init__(self, told: TextIO) -> None:
        self._told = told

    def _line(self, text: str) -> None:
        self._told.write(f"{time.monotonic():.3f} {text}\n")
        self._told.flush()

    def note(self, text: str) -> None:
        for line in text.splitlines():
            self._line(f"note {line}")

    def stage(self, label: str, index: int, total: int) -> None:
        self._line(f"stage {label}")

    def epoch(self, label: str, epoch: int, epochs: int, figures: object) -> None:
        self._line(f"epoch {label} {epoch}")


@dataclass
class Run:
    """A process that runs the pipeline.

    Args:
        process: its number.
        told: what it tells, line by line, until it has ended.
    """

    process: int
    told: TextIO


def start(folder: Path, report: Path | None = None, text: str = TINY) -> Run:
    """Begin or go on with a run in a folder; its report is also written to a file of its own."""
    write_pipeline(folder, text)
    sys.stdout.flush()
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return Run(process, open(reading, encoding="utf-8"))  # noqa: PTH123  (a descriptor; closed by its end)
    code = 1
    try:
        with open(writing, "w", encoding="utf-8") as told:  # noqa: PTH123
            pipeline = Pipeline.from_yaml(folder / "small.yaml")
            found = pipeline.run(folder / "models", folder / "exports", progress=Log(told))
        assert found is not None
        if report is not None:
            report.write_text(found.model_dump_json(by_alias=True), encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(run: Run) -> tuple[int, list[str]]:
    """Wait for a run; its exit code, or minus the signal that ended it, and what it told since it was last read."""
    with run.told:
        lines = run.told.read().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(run.process, 0)[1]), lines


def bits(folder: Path) -> dict[str, str]:
    """The checksum of every file of whole artifacts, and of the exported models, but for those that hold times."""
    whole = [path for path in (folder / "models").glob("?" * 16) if path.is_dir()]
    files = [file for path in whole for file in path.iterdir()] + list((folder / "exports" / "tiny").glob("*.onnx"))
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name not in DIFFER
    }


def artifacts(folder: Path) -> list[str]:
    """Everything that lies in the store."""
    return sorted(path.name for path in (folder / "models").iterdir())


def reported(path: Path) -> dict[str, object]:
    """What a report says, but for the time it was made."""
    body: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in body.items() if key != "created"}


def machine() -> str:
    """Where and with what this ran."""
    found = environment()
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, Python {found['python']}"
    return f"{cpu_name()}, {found['cores']} cores, {platform.system()} {platform.machine()}, {versions}"
