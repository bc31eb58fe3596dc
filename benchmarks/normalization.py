"""Does a folded ImageNet normalisation change what real weights say of real photographs?

    python -m benchmarks.normalization > benchmarks/normalization.txt

EfficientNet-Lite0 with ImageNet weights: the exported float file, which takes raw pixels, against the network of the
package the weights come from. Outside of the picture edgekd's zeros stand for 128 where the package's stand for
ImageNet's mean colour; the same photographs are compared with a grey border in the package's network too.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from edgekd.onnx_export import export_onnx, ort
from edgekd.quantization import float_graph
from edgekd.zoo import build
from edgekd.zoo.weights import IMAGENET_PIXELS, give_weights, read_weights
from tests import lite


def main() -> None:
    photos = lite.photographs()
    model = build(lite.SPEC)
    give_weights(model, lite.SPEC, read_weights(lite.weights_file()), IMAGENET_PIXELS)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "lite.onnx"
        export_onnx(float_graph(model.eval(), lite.SPEC), lite.SPEC, path)
        found = torch.from_numpy(ort.predict(ort.session(path), photos))
    seen = lite.as_package_sees(photos)
    with torch.inference_mode():
        grey, own = lite.grey_border_network()(seen), lite.package_network()(seen)
    print(f"{len(photos)} pieces of {len(lite.PHOTOS)} photographs, 224x224; deviation of the logits {found.std():.2f}")
    print(f"border of 128 in both:     {compared(found, grey)}")
    print(f"the package's own border:  {compared(found, own)}")


def compared(found: Tensor, wanted: Tensor) -> str:
    same = (found.argmax(1) == wanted.argmax(1)).float().mean()
    difference = (found - wanted).abs()
    return f"top-1 agreement {same:.1%}, |logit difference| mean {difference.mean():.2g}, max {difference.max():.2g}"


if __name__ == "__main__":
    main()
