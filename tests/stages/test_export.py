"""Export: a file that drifts from torch is found out, layer by layer."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.data import DataSettings, calibration_batches, load_dataset
from edgekd.onnx_export import export_onnx
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.stages.export import drift
from edgekd.zoo import ModelSpec, build

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_drift_names_the_layer_that_was_damaged_first_of_all(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    data, model, path = load_dataset(DataSettings(image_size=8)), build(SPEC).eval(), tmp_path / "model.onnx"
    quantized = QuantizedModel(model, SPEC, 7)
    quantized.calibrate(calibration_batches(data, 64))
    graph = float_graph(model, SPEC) if precision == "float32" else quantized.integers()
    export_onnx(graph, SPEC, path)

    assert len(drift(graph, path, data.val)) >= 10
    assert drift(graph, path, data.val)[0][1] < 0.02

    file = onnx.load(path)
    weights = {node.input[1] for node in file.graph.node if node.op_type == "Conv"}
    sources = {node.input[0] for node in file.graph.node if node.output[0] in weights} | weights
    damaged = [tensor for tensor in file.graph.initializer if tensor.name in sources][-1]
    damaged.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(damaged), damaged.name))
    onnx.save(file, path)
    worst = drift(graph, path, data.val)

    assert worst[0][1] > 0.2
    assert np.median([error for _, error in worst]) < 0.02
