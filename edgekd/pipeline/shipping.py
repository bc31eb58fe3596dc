"""From the measured files to the bundle in ``exports/<name>/``."""

import math
from pathlib import Path

import torch

from edgekd.artifact import Artifact
from edgekd.bundle.golden import golden_of, spread
from edgekd.bundle.write import Input, write_bundle
from edgekd.data import Dataset
from edgekd.onnx_export import IR_VERSION, ONNXRUNTIME_MIN, OPSET
from edgekd.report.build import Measured
from edgekd.report.predictions import FILE as PREDICTIONS
from edgekd.report.predictions import write_predictions
from edgekd.report.roles import recommended_of
from edgekd.report.schema import Report


def ship(folder: Path, report: Report, exported: Artifact, measured: Measured, data: Dataset, rule: str) -> None:
    """Fill ``exports/<name>/`` with the files, their proof and the reports."""
    files = {about["id"]: exported.folder / about["file"] for about in measured.files}
    chosen, test = recommended_of(report), data.test
    assert chosen is not None
    rows = torch.tensor(spread(len(test), math.prod(test.images.shape[1:])))
    golden = golden_of(files[chosen.id], test.images[rows].numpy(), test.labels[rows].numpy(), chosen.weight_bits)
    pixels = Input(data.image_size, data.in_channels, rule)
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
