"""ONNX Runtime: sessions, predictions, its optimised graph, the saturation probe."""

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data import Images, InUnits
from edgekd.errors import ExportError
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.sessions import logits_of_pixels, open_session


def session(path: Path | bytes, threads: int = 1, *, exact: bool = False, optimised: Path | None = None) -> Any:
    """A session on the CPU.

    Args:
        path: the file, or its bytes.
        threads: of one inference.
        exact: run the graph unfused, with float arithmetic between the rounding steps: the reference.
        optimised: where ONNX Runtime writes its optimised graph.

    Raises:
        ExportError: ONNX Runtime refuses the file.
    """
    try:
        return open_session(path, threads, exact, optimised)
    except Fault as fault:
        raise ExportError(fault.where, fault.problem, "report the network") from None


def predict(runner: Any, pixels: np.ndarray | Images | InUnits, batch: int = 64) -> np.ndarray:
    """Logits of images, as the file takes them.

    Args:
        runner: a session.
        pixels: shape ``(count, height, width, channels)``; read in pieces, so that it may lie on disk.
        batch: images at a time.

    Returns:
        float32, shape ``(count, classes)``.
    """
    found: np.ndarray[Any, Any] = logits_of_pixels(runner, pixels, batch)
    return found


# The least number of outputs for ONNX Runtime's fast integer convolution; with fewer another kernel would be probed.
PROBE_CHANNELS = 16


def saturates() -> bool:
    """Does this CPU's integer multiply saturate with 8-bit weights? Found by running a tiny model with a known answer.

    A 3x3 convolution of pixels of 255 with weights of 127: each pair of products is 64770, beyond what 16 bits hold.
    """
    return probe(weight=127) != probe_answer(127)


def probe_answer(weight: int) -> int:
    """The probe's answer without saturation, by integer arithmetic."""
    return round(PROBE_CHANNELS * 9 * 255 * weight / 2**16)


def probe(weight: int) -> int:
    """This CPU's answer to the probe with weights of this value."""
    from onnx import TensorProto, helper, numpy_helper

    channels = PROBE_CHANNELS
    constants: dict[str, np.ndarray[Any, Any]] = {
        "one": np.array(1.0, np.float32),
        "ones": np.ones(channels, np.float32),
        "zero": np.array(0, np.uint8),
        "zeros": np.zeros(channels, np.int8),
        "weight": np.full((channels, channels, 3, 3), weight, np.int8),
        # Scales the sum into the range of uint8; the right answer is 71.
        "wide": np.array(2.0**16, np.float32),
    }
    inputs = ["x", "one", "zero", "weight", "ones", "zeros", "wide", "zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", inputs, ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, channels, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    pixels = np.full((1, channels, 8, 8), 255, np.uint8)
    return int(session(model.SerializeToString()).run(None, {"x": pixels})[0].min())
