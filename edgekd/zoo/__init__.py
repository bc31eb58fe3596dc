"""Architectures by name, stems for small images, restoring pruned widths, counting MACs and parameters."""

from edgekd.zoo.build import TIMM, build, check_name, has_two_stems, known_models, stem_in_words
from edgekd.zoo.cifar import CifarResNet, cifar_resnet_depth
from edgekd.zoo.counting import count_macs, count_params
from edgekd.zoo.ends import Ends, ends_of
from edgekd.zoo.places import Place, Side, Watch, places_of
from edgekd.zoo.spec import ModelSpec, Stem, example_images, random_images
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
    "Stem",
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
    "has_two_stems",
    "known_models",
    "places_of",
    "random_images",
    "stem_in_words",
    "widths",
    "with_activations",
    "with_widths",
]
