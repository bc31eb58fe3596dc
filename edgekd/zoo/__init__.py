"""Architectures by name, stems for small images, restoring pruned widths, counting MACs and parameters."""

from edgekd.zoo.build import TIMM, build, check_name, known_models
from edgekd.zoo.cifar import CifarResNet, cifar_resnet_depth
from edgekd.zoo.counting import count_macs, count_params
from edgekd.zoo.ends import Ends, ends_of
from edgekd.zoo.places import Place, Side, Watch, places_of
from edgekd.zoo.spec import ModelSpec, example_images, random_images
from edgekd.zoo.widths import (
    RESIZABLE,
    WIDTH_ATTRIBUTES,
    Widths,
    fingerprint,
    fresh_of_widths,
    widths,
    with_activations,
    with_widths,
)

__all__ = [
    "RESIZABLE",
    "TIMM",
    "WIDTH_ATTRIBUTES",
    "CifarResNet",
    "Ends",
    "ModelSpec",
    "Place",
    "Side",
    "Watch",
    "Widths",
    "build",
    "check_name",
    "cifar_resnet_depth",
    "count_macs",
    "count_params",
    "ends_of",
    "example_images",
    "fingerprint",
    "fresh_of_widths",
    "known_models",
    "places_of",
    "random_images",
    "widths",
    "with_activations",
    "with_widths",
]
