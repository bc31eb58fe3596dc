"""Classes and probabilities of image files and of arrays."""

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np

from edgekd.ondevice.arrays import SUFFIX, BadArrays, read_array
from edgekd.ondevice.contents import MODEL
from edgekd.ondevice.faults import Fault
from edgekd.ondevice.fields import FROM_ITS_MAKER, MANIFEST
from edgekd.ondevice.pixels import BadImage, fit_image, quiet, read_image
from edgekd.ondevice.sessions import logits_of_pixels, open_session
from edgekd.ondevice.sizes import size_of


def classify(
    model: Union[Path, bytes], manifest: Dict[str, Any], images: Sequence[Path], top: int = 5
) -> List[Dict[str, Any]]:
    """The likeliest classes of each image, decoded and resized as the training images were.

    Args:
        model: the ONNX file of a bundle whose files were checked, or its bytes.
        manifest: the bundle's.
        images: image files of any kind that Pillow reads, or .npy arrays as the model takes them.
        top: classes of each.

    Returns:
        For each image ``image`` and ``classes``: name and probability (softmax, 0..1), the likeliest first.

    Raises:
        Fault: a file that is no image, an array of another shape or type; Pillow is missing or too old.
    """
    session = open_session(model)
    return [_classified(session, manifest, image, top) for image in images]


def _classified(session: Any, manifest: Dict[str, Any], image: Path, top: int) -> Dict[str, Any]:
    wanted, names = manifest["input"], manifest["classes"]
    logits = logits_of_pixels(session, _input_of(image, wanted)[None])[0]
    if logits.shape != (len(names),):
        problem = f"names {len(names)} classes, but {MODEL} gives logits of shape {logits.shape}"
        raise Fault(MANIFEST, problem, FROM_ITS_MAKER)
    # Without the subtraction exp overflows in float32 from a logit of 89 on.
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    # Stable: equal probabilities come in the same order on every machine.
    best = np.argsort(-shares, kind="stable")[:top]
    classes = [{"name": names[index], "probability": round(float(shares[index]), 6)} for index in best]
    return {"image": str(image), "classes": classes}


def _input_of(path: Path, wanted: Dict[str, Any]) -> Any:
    if path.suffix == SUFFIX:
        return _from_array(path, wanted)
    if wanted["dtype"] != "uint8" or wanted["channels"] not in (1, 3):
        taken = f"{wanted['dtype']} of shape {_shape(wanted)}"
        raise Fault(str(path), f"is no array, and the model takes {taken}", "give .npy files, by numpy.save")
    return _image_pixels(path, wanted)


def _shape(wanted: Dict[str, Any]) -> Tuple[int, int, int]:
    return wanted["height"], wanted["width"], wanted["channels"]


def _from_array(path: Path, wanted: Dict[str, Any]) -> Any:
    try:
        array = read_array(path)
    except (BadArrays, OSError) as error:
        raise Fault(str(path), f"cannot be read as an array: {error}", "write it by numpy.save") from None
    shape, kind = _shape(wanted), np.dtype(wanted["dtype"])
    if array.shape == shape[:2] and shape[2] == 1:
        array = array[..., None]
    if array.shape != shape or (array.dtype != kind and (kind == np.uint8 or array.dtype.kind not in "iuf")):
        problem = f"holds {array.dtype} of shape {array.shape}, the model takes {kind} of shape {shape}"
        raise Fault(str(path), problem, "make the array as for training")
    if not np.isfinite(array).all():
        raise Fault(str(path), "holds numbers that are infinite or none", "make the array as for training")
    return array.astype(kind)


def _image_pixels(path: Path, wanted: Dict[str, Any]) -> Any:
    try:
        with quiet():
            size = size_of(wanted["height"], wanted["width"])
            return fit_image(read_image(path, wanted["channels"]), size, wanted["resize"])
    except BadImage as error:
        raise Fault(str(path), f"cannot be read as an image: {error}", "give PNG, JPEG or the like") from None
    except MemoryError as error:
        problem = f"cannot be decoded ({str(error) or 'memory is short'})"
        raise Fault(str(path), problem, "free memory, or make the image smaller") from None
    except ImportError:
        raise Fault("Pillow", "is missing, which reads image files", "python3 -m pip install 'Pillow>=10.1'") from None
