"""Real ImageNet weights in few bits, calibrated only: does the network still say of photographs what it said in floats?

    python -m benchmarks.few_bits > benchmarks/few_bits.txt

EfficientNet-Lite0 with its package's weights; random pieces of four of scikit-image's photographs calibrate, pieces of
four others are asked about. Simulated by torch, as training sees it.
"""

from pathlib import Path

import skimage.data
import torch
from skimage.io import imread
from torch import Tensor
from torch.nn import functional as F

from edgekd.config.schemes import INT8, INT8_IN_7_BITS, W2, W3, W4, Scheme
from edgekd.data import as_input
from edgekd.data.splits import resize
from edgekd.quantization import QuantizedModel
from edgekd.zoo import build
from edgekd.zoo.weights import IMAGENET_PIXELS, give_weights, read_weights
from tests import lite

PIECES = 20
"""Of each photograph."""


def pieces(names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Random squares of photographs, a third to all of their height: uint8, shape ``(count, 224, 224, 3)``."""
    found = []
    for name in names:
        photo = torch.from_numpy(imread(Path(skimage.data.__file__).parent / name).copy())[..., :3]
        for _ in range(PIECES):
            draws = torch.rand(3, generator=generator).tolist()
            side = int(min(photo.shape[:2]) * (1 / 3 + 2 / 3 * draws[0]))
            top, left = (int((size - side) * draw) for size, draw in zip(photo.shape[:2], draws[1:], strict=True))
            found.append(resize(photo[top : top + side, left : left + side].contiguous()[None], 224))
    return torch.cat(found)


def imagenet_network() -> torch.nn.Module:
    """EfficientNet-Lite0 with its package's weights, in eval mode."""
    model = build(lite.SPEC)
    give_weights(model, lite.SPEC, read_weights(lite.weights_file()), IMAGENET_PIXELS)
    return model.eval()


def answers(model: torch.nn.Module, batches: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(batch) for batch in batches])


def line(scheme: Scheme, corrected: bool, model: torch.nn.Module, calibration: list[Tensor], test: list[Tensor]) -> str:
    quantized = QuantizedModel(model, lite.SPEC, scheme, "lite")
    if corrected:
        quantized.correct_batchnorm(lambda: calibration)
    quantized.calibrate(calibration)
    wanted, found = answers(model, test), answers(quantized, test)
    same = (found.argmax(1) == wanted.argmax(1)).float().mean()
    among = (wanted.topk(5).indices == found.argmax(1, keepdim=True)).any(1).float().mean()
    divergence = F.kl_div(found.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean")
    return (
        f"{scheme.name:15} {'corrected' if corrected else 'as given':10} {same:12.1%} {among:15.1%} {divergence:10.3f}"
    )


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    both = (torch.split(pieces(lite.PHOTOS[i::2], generator), 20) for i in (0, 1))
    calibration, test = ([as_input(batch) for batch in batches] for batches in both)
    model = imagenet_network()
    print(f"EfficientNet-Lite0, {20 * len(calibration)} pieces calibrate, {20 * len(test)} are asked about")
    print("scheme          batch norms  same top-1  among top-5 of   KL, nats")
    for scheme in (INT8, INT8_IN_7_BITS, W4, W3, W2):
        for corrected in (False, True):
            print(line(scheme, corrected, model, calibration, test), flush=True)


if __name__ == "__main__":
    main()
