"""Export: a file that answers otherwise than torch is told apart from one that only rounds, layer by layer."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import fx

from edgekd.config import validate
from edgekd.config.schemes import INT8, INT8_IN_7_BITS
from edgekd.data import Dataset, Digits, calibration_batches, load_dataset
from edgekd.onnx_export import export_onnx, ort
from edgekd.pipeline import Pipeline
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.stages.drift import explained, followed, remedy, spread
from edgekd.stages.manifests import Drift
from edgekd.training.evaluation import logits_of
from edgekd.zoo import ModelSpec, build

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8)


def exported(precision: str, data: Dataset, path: Path) -> tuple[fx.GraphModule, np.ndarray]:
    """An untrained network as a file, what was exported, and torch's logits on val."""
    torch.manual_seed(0)
    model = build(SPEC).eval()
    if precision == "float32":
        graph, answer = float_graph(model, SPEC), model
    else:
        answer = QuantizedModel(model, SPEC, INT8_IN_7_BITS)
        answer.calibrate(calibration_batches(data, 64))
        graph = answer.integers()
    export_onnx(graph, SPEC, path)
    return graph, logits_of(answer, data.val).numpy()


def damage(path: Path) -> None:
    """Turn the sign of one layer's weights."""
    file = onnx.load(path)
    weights = {node.input[1] for node in file.graph.node if node.op_type == "Conv"}
    sources = {node.input[0] for node in file.graph.node if node.output[0] in weights} | weights
    damaged = [tensor for tensor in file.graph.initializer if tensor.name in sources][-1]
    damaged.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(damaged), damaged.name))
    onnx.save(file, path)


def why(graph: fx.GraphModule, path: Path, data: Dataset, wanted: np.ndarray) -> Drift:
    return explained(
        graph, path, data.val, wanted, ort.predict(ort.session(path), data.val.images), exact=False, scheme=None
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_layer_that_computes_something_else_is_named_and_no_other(tmp_path: Path, precision: str) -> None:
    data, path = load_dataset(Digits(image_size=8)), tmp_path / "model.onnx"
    graph, wanted = exported(precision, data, path)

    before = why(graph, path, data, wanted)
    damage(path)
    after = why(graph, path, data, wanted)

    assert (before.kind, before.layers) == ("rounding", [])
    assert after.kind == "graph"
    assert len(after.layers) == 1
    assert after.images > before.images
    assert len(followed(graph, path, spread(data.val))) >= 10


@pytest.mark.slow
def test_a_weak_model_whose_classes_lie_close_ends_with_a_report_and_a_note(tmp_path: Path) -> None:
    """After one epoch of a teacher two integer files part from torch on 1 % of val: their layers are all right."""
    tree = {
        "name": "weak",
        "data": {"name": "digits", "image_size": 8},
        "target": {"isa": "x86-avx2"},
        "stages": [
            {"stage": "teacher", "model": "resnet8", "epochs": 1, "batch_size": 128},
            {"stage": "distill", "epochs": 1, "batch_size": 128},
            {"stage": "qat", "epochs": 1, "batch_size": 128},
            {"stage": "export", "models": ["teacher", "qat"]},
        ],
        "budget": {"accuracy_drop": 0.9},
    }

    report = validate(Pipeline, tree, "here").run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    parted = [model for model in report.models if model.drift is not None]
    assert all(model.drift is not None and model.drift.kind == "rounding" for model in parted)
    assert all(model.agreement < 0.995 for model in parted)
    notes = [note for note in report.notes if "rounding alone turns its answer on" in note]
    assert len(notes) == len(parted)


def test_a_remedy_is_never_one_that_is_in_force() -> None:
    assert remedy("saturation", INT8) == "declare target.isa: x86-avx2"
    assert remedy("saturation", INT8_IN_7_BITS) == remedy("graph", INT8) == "report the network"
