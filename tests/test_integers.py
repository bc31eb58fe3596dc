"""Rewrites of exported graphs for integer kernels: no answer changes, and what should vanish does."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.onnx_export import ort
from edgekd.onnx_export.integers import absorb_factors, drop_vain_clips, integer_scalars

SCALE, ZERO = np.array(0.1, np.float32), np.array(30, np.uint8)
PIXELS = np.arange(256, dtype=np.uint8).reshape(1, 256)


def model_of(nodes: list[Any], **numbers: float) -> Any:
    """A graph of uint8 ``q``, dequantized as ``x``, to float ``y``; or, if a node gives it, to uint8 ``r``."""
    quantized = any("r" in node.output for node in nodes)
    output = ("r", TensorProto.UINT8) if quantized else ("y", TensorProto.FLOAT)
    constants: dict[str, Any] = {"scale": SCALE, "zero": ZERO}
    constants |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 256])],
        [helper.make_tensor_value_info(*output, [1, 256])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: Any) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    found: np.ndarray = ort.session(model.SerializeToString(), exact=True).run(None, {"q": PIXELS})[0]
    return found


def types(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


REAL = (PIXELS.astype(np.float64) - 30) * 0.1


@pytest.mark.parametrize("operands", [["x", "sixth"], ["sixth", "x"]])
def test_a_factor_becomes_part_of_the_scale(operands: list[str]) -> None:
    model = model_of([helper.make_node("Mul", operands, ["y"])], sixth=1 / 6)

    absorb_factors(model.graph)

    assert types(model) == ["DequantizeLinear", "DequantizeLinear"]
    np.testing.assert_allclose(run(model), REAL / 6, rtol=1e-6)


def test_a_negative_factor_stays_a_product() -> None:
    model = model_of([helper.make_node("Mul", ["x", "minus"], ["y"])], minus=-1.0)

    absorb_factors(model.graph)

    assert types(model) == ["DequantizeLinear", "Mul"]


@pytest.mark.parametrize("value", [3.0, -0.7, 0.0])
@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_a_number_beside_integers_is_an_integer_of_its_own_scale_and_exact(operator: str, value: float) -> None:
    model = model_of([helper.make_node(operator, ["x", "number"], ["y"])], number=value)

    integer_scalars(model.graph)

    assert types(model) == ["DequantizeLinear", "DequantizeLinear", operator]
    np.testing.assert_allclose(run(model), REAL + value if operator == "Add" else REAL * value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("clip", "stays"),
    [
        (helper.make_node("Relu", ["x"], ["c"]), True),  # the range begins at -3
        (helper.make_node("Clip", ["x", "low", "high"], ["c"]), False),  # half a step inside the range's ends, or less
        (helper.make_node("Clip", ["x", "low"], ["c"]), False),
        (helper.make_node("Clip", ["x", "", "six"], ["c"]), True),
    ],
)
def test_a_clip_goes_only_where_the_integer_range_clips_as_much(clip: Any, stays: bool) -> None:
    nodes = [clip, helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["r"])]
    numbers = {"low": -2.96, "high": 22.46, "six": 6.0}
    before = run(model_of(nodes, **numbers))
    model = model_of(nodes, **numbers)

    drop_vain_clips(model.graph)

    assert (clip.op_type in types(model)) == stays
    assert np.array_equal(run(model), before)
