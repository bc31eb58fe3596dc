"""Datasets by name, fixed splits, augmentation of whole batches, batches."""

from edgekd.data.augment import AUGMENT_VERSION, Augment
from edgekd.data.batches import (
    as_input,
    batches,
    batches_per_epoch,
    calibration_batches,
    shared_batches,
    spread_batches,
    train_batches,
)
from edgekd.data.dataset import PIXEL_CENTRE, PIXEL_SCALE, Dataset, DataSettings, Split
from edgekd.data.sources import DATASETS, load_dataset
from edgekd.data.stored import Images

__all__ = [
    "AUGMENT_VERSION",
    "DATASETS",
    "PIXEL_CENTRE",
    "PIXEL_SCALE",
    "Augment",
    "DataSettings",
    "Dataset",
    "Images",
    "Split",
    "as_input",
    "batches",
    "batches_per_epoch",
    "calibration_batches",
    "load_dataset",
    "shared_batches",
    "spread_batches",
    "train_batches",
]
