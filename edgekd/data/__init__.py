"""Datasets by name, fixed splits, augmentation of whole batches, batches."""

from edgekd.data.augment import AUGMENT_VERSION, Augment
from edgekd.data.batches import (
    Batch,
    Batches,
    Counts,
    Mix,
    View,
    as_input,
    batches,
    batches_per_epoch,
    calibration_batches,
    repeated_batches,
    shared_batches,
    spread_batches,
    train_batches,
)
from edgekd.data.cifar import Cifar10, Cifar100
from edgekd.data.dataset import PIXEL_CENTRE, PIXEL_SCALE, Dataset, Split
from edgekd.data.digits import Digits
from edgekd.data.fashion import FashionMnist
from edgekd.data.folder import Folder
from edgekd.data.function import Function
from edgekd.data.settings import DataSettings
from edgekd.data.sources import AnyData, load_dataset
from edgekd.data.stored import Images
from edgekd.data.value_range import InUnits, ValueRange, in_units

__all__ = [
    "AUGMENT_VERSION",
    "PIXEL_CENTRE",
    "PIXEL_SCALE",
    "AnyData",
    "Augment",
    "Batch",
    "Batches",
    "Cifar10",
    "Cifar100",
    "Counts",
    "DataSettings",
    "Dataset",
    "Digits",
    "FashionMnist",
    "Folder",
    "Function",
    "Images",
    "InUnits",
    "Mix",
    "Split",
    "ValueRange",
    "View",
    "as_input",
    "batches",
    "batches_per_epoch",
    "calibration_batches",
    "in_units",
    "load_dataset",
    "repeated_batches",
    "shared_batches",
    "spread_batches",
    "train_batches",
]
