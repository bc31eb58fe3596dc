"""ONNX Runtime: sessions on the CPU and their input."""

from pathlib import Path
from typing import Any, Dict, Optional, Union

import numpy as np

from edgekd.ondevice.faults import Fault

_INPUTS = {
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
}


def open_session(
    model: Union[Path, bytes], threads: int = 1, exact: bool = False, optimised: Optional[Path] = None
) -> Any:
    """A session on the CPU.

    Args:
        model: the file, or its bytes.
        threads: of one inference.
        exact: run the graph unfused, with float arithmetic between the rounding steps: the reference.
        optimised: where ONNX Runtime writes its optimised graph.

    Raises:
        Fault: ONNX Runtime is missing, or refuses the file.
    """
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Only fatal errors: all others are raised as exceptions as well, and would be printed twice.
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel
    # Without fusion nothing saturates: the exact reference. The alternative, session.x64quantprecision=1, crashes ONNX
    # Runtime 1.32 on these files ("Attempt to replace the existing tensor").
    options.graph_optimization_level = level.ORT_DISABLE_ALL if exact else level.ORT_ENABLE_ALL
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    given = model if isinstance(model, bytes) else str(model)
    try:
        # Without enable_fallback=0 ONNX Runtime prints the error to the terminal and tries the same once more.
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        where = "model" if isinstance(model, bytes) else model.name
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Fault(where, f"ONNX Runtime {onnxruntime.__version__} refuses it ({reason})") from None


def onnxruntime_version() -> str:
    """ONNX Runtime's version."""
    return str(_onnxruntime().__version__)


def logits_of_pixels(session: Any, pixels: Any, batch: int = 64) -> Any:
    """Logits of images.

    Args:
        session: of a file with one input and one output.
        pixels: uint8, shape ``(count, height, width, channels)``; read in pieces, so that it may lie on disk.
        batch: images at a time.

    Returns:
        float32, shape ``(count, classes)``.

    Raises:
        Fault: the file does not run on such pixels.
    """
    parts = [_logits(session, np.asarray(pixels[i : i + batch])) for i in range(0, len(pixels), batch)]
    return np.concatenate(parts)


def _logits(session: Any, pixels: Any) -> Any:
    try:
        found = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    # ONNX Runtime's errors have no class in common: another shape or type than the file takes, no memory left.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Fault("model", f"does not run on {pixels.dtype} of shape {pixels.shape} ({reason})") from None
    # A file of another kind may give text, a list, or a single number.
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.ndim == 0:
        raise Fault("model", "gives no floats for each image", "take a classifier")
    return found


def noise_for(session: Any, batch: int, where: str) -> Dict[str, Any]:
    """A batch of noise of the shape and type that a file takes, for measuring latency.

    Raises:
        Fault: the type of its input is not supported, or its batch size is fixed.
    """
    feed = {}
    for index, wanted in enumerate(session.get_inputs()):
        if wanted.type not in _INPUTS or not wanted.shape:
            raise Fault(where, f"takes {wanted.type} of shape {wanted.shape}", "bench files that take images")
        sizes = [
            size if isinstance(size, int) else (batch if axis == 0 else 1) for axis, size in enumerate(wanted.shape)
        ]
        if index == 0 and sizes[0] != batch:
            raise Fault(where, f"takes only batches of {sizes[0]}", f"use --batch {sizes[0]}")
        # Below 100, which every type of the table can hold.
        feed[wanted.name] = np.random.RandomState(0).randint(0, 100, sizes).astype(_INPUTS[wanted.type])
    return feed


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise Fault(
            "onnxruntime", f"cannot be imported ({error})", "python3 -m pip install onnxruntime numpy"
        ) from None
    return onnxruntime
