"""From the measured files to the bundle in ``exports/<name>/``."""

import math
from pathlib import Path

import torch

from edgekd.bundle.golden import golden_of, spread
from edgekd.bundle.input import Input
from edgekd.bundle.write import write_bundle
from edgekd.data import Dataset
from edgekd.ondevice.machine import host_isa
from edgekd.onnx_export import IR_VERSION, ONNXRUNTIME_MIN, OPSET
from edgekd.report.predictions import FILE as PREDICTIONS
from edgekd.report.predictions import write_predictions
from edgekd.report.schema import Report
from edgekd.report.subject import Measured
from edgekd.store.artifacts import Artifact


def ship(folder: Path, report: Report, exported: Artifact, measured: Measured, data: Dataset, rule: str) -> None:
    """Fill ``exports/<name>/`` with the files, their proof and the reports."""
    files = {file.id: exported.folder / file.file for file in measured.files}
    chosen, test = next(file for file in measured.files if file.id == report.recommended), data.test
    image_bytes = math.prod(test.images.shape[1:]) * (1 if test.unit is None else 4)
    rows = torch.tensor(spread(len(test), image_bytes))
    exact_here = chosen.integers is None or chosen.integers.exact_on(host_isa())
    golden = golden_of(files[chosen.id], test.given[rows].numpy(), test.labels[rows].numpy(), exact_here=exact_here)
    pixels = Input(data.image_size, data.in_channels, rule, data.unit)
    versions = {"opset": OPSET, "ir_version": IR_VERSION, "onnxruntime_min": ONNXRUNTIME_MIN}
    write_bundle(
        folder,
        report,
        files,
        pixels,
        golden,
        versions,
        lambda beside: write_predictions(beside / PREDICTIONS, measured.predictions(), test.labels),
    )
