"""Classes and probabilities of image files."""

from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

import numpy as np

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
        images: image files of any kind that Pillow reads.
        top: classes of each.

    Returns:
        For each image ``image`` and ``classes``: name and probability (softmax, 0..1), the likeliest first.

    Raises:
        Fault: a file that is no image; Pillow is missing or too old.
    """
    session = open_session(model)
    return [_classified(session, manifest, image, top) for image in images]


def _classified(session: Any, manifest: Dict[str, Any], image: Path, top: int) -> Dict[str, Any]:
    wanted, names = manifest["input"], manifest["classes"]
    logits = logits_of_pixels(session, _image_pixels(image, wanted)[None])[0]
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
