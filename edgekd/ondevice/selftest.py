"""The self-test: every file is intact, and the model answers here as it did where it was exported."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np

from edgekd.ondevice.arrays import BadArrays, read_arrays
from edgekd.ondevice.contents import GOLDEN, MODEL, file_problems, read_manifest
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.machine import host_isa, isa_warning
from edgekd.ondevice.sessions import logits_of_pixels, onnxruntime_version, open_session


def self_test(
    folder: Path, everything: bool, read_model: Optional[Callable[[Dict[str, Any]], bytes]] = None
) -> Dict[str, Any]:
    """Check a bundle's files and its model's answers to the golden images.

    Args:
        folder: the bundle.
        everything: also require the reports, which are not sent to a device.
        read_model: called with the manifest once all files are intact, returns the model's bytes or raises; unless
            given, ONNX Runtime opens the file.

    Returns:
        Plain data: ``ok``, ``problems`` (a line each), ``warnings``, ``files`` (how many were checked), ``golden``
        (images, same_top1, max_difference, tolerance; None where the files are not whole).

    Raises:
        Fault: the manifest is missing, damaged, from the future, or points outside.
    """
    manifest = read_manifest(folder)
    problems = file_problems(folder, manifest, everything)
    target = manifest["target"]
    warning = isa_warning(target["isa"], target["weight_bits"], host_isa())
    golden = None
    if not problems:
        problems += _too_old(manifest)
    # A damaged model is not run: it may crash the process before the damaged file is reported.
    if not problems:
        model = read_model(manifest) if read_model else folder / MODEL
        golden = compare_golden(model, folder / GOLDEN, manifest)
        problems += _differences(golden)
    return {
        "ok": not problems,
        "problems": problems,
        "warnings": [warning] if warning else [],
        "files": len(manifest["files"]),
        "golden": golden,
        "name": manifest["name"],
    }


def compare_golden(model: Union[Path, bytes], golden: Path, manifest: Dict[str, Any]) -> Dict[str, Any]:
    """Compare a model's logits of the golden images with the recorded ones.

    The class must be the same, unless the recorded logits of two classes are closer than the tolerance.

    Args:
        model: the ONNX file, or its bytes.
        golden: the images and logits that were recorded.
        manifest: says the shape of the images, the number of classes, and the tolerance of a logit.

    Raises:
        Fault: the golden images are not what the manifest says, or the model does not run on them.
    """
    pixels, wanted = read_golden(golden, manifest)
    tolerance = float(manifest["golden"]["tolerance"])
    found = logits_of_pixels(open_session(model), pixels)
    if found.shape != wanted.shape:
        raise Fault(
            MODEL, f"gives logits of shape {found.shape}, recorded were {wanted.shape}", "copy the bundle again"
        )
    rows = np.arange(len(wanted))
    behind = wanted[rows, wanted.argmax(1)] - wanted[rows, found.argmax(1)]
    return {
        "images": len(wanted),
        "same_top1": int((found.argmax(1) == wanted.argmax(1)).sum()),
        "wrong_top1": int((behind > tolerance).sum()),
        "max_difference": float(np.abs(found - wanted).max()),
        "tolerance": tolerance,
    }


def read_golden(path: Path, manifest: Dict[str, Any]) -> Tuple[Any, Any]:
    """Images (count x height x width x channels, of the model's type) and recorded logits (float32, count x classes).

    Raises:
        Fault: the file does not hold golden images, or of another shape than the manifest says.
    """
    try:
        arrays = read_arrays(path)
    except (BadArrays, OSError) as error:
        raise Fault(path.name, f"holds no golden images ({error})", "copy the bundle again") from None
    shape = tuple(manifest["input"][key] for key in ("height", "width", "channels"))
    kinds = {
        "images": (np.dtype(manifest["input"]["dtype"]), shape),
        "logits": (np.float32, (len(manifest["classes"]),)),
    }
    for name, (kind, shape) in kinds.items():
        found = arrays.get(name)
        if found is None or found.dtype != kind or found.shape[1:] != shape:
            held = "nothing" if found is None else f"{found.dtype} of shape {found.shape}"
            problem = f"holds {held} as {name}, not {np.dtype(kind)} of shape (count, {', '.join(map(str, shape))})"
            raise Fault(path.name, problem, "copy the bundle again")
    pixels, logits = arrays["images"], arrays["logits"]
    if not 0 < len(pixels) == len(logits):
        raise Fault(path.name, f"holds {len(pixels)} images and logits of {len(logits)}", "copy the bundle again")
    return pixels, logits


def _differences(golden: Dict[str, Any]) -> List[str]:
    found, allowed = golden["max_difference"], golden["tolerance"]
    problems = []
    if golden["wrong_top1"]:
        problems.append(f"{MODEL}: another class than recorded for {golden['wrong_top1']} of {golden['images']} images")
    # Not ``found > allowed``: every comparison with NaN is false, and NaN must fail.
    if not found <= allowed:
        problems.append(
            f"{MODEL}: logits differ from the recorded ones by up to {found:.4g}, allowed are {allowed:.4g}"
        )
    return problems


def _too_old(manifest: Dict[str, Any]) -> List[str]:
    have, need = onnxruntime_version(), manifest["onnxruntime_min"]
    if _version(have) >= _version(need):
        return []
    return [f"onnxruntime {have} is too old, the model needs {need}; python3 -m pip install 'onnxruntime>={need}'"]


def _version(text: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
