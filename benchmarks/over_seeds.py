"""Two files of runs with different seeds: the difference in accuracy, with an interval over seeds and images.

    python -m benchmarks.over_seeds FIRST SECOND EXPORT...

FIRST and SECOND are ids of files in every EXPORT; ``ID@NAME`` is one of the folder beside it that is called NAME-SEED
where EXPORT ends in -SEED, and has the same test images.
"""

import sys
from pathlib import Path

import numpy as np

from edgekd.report.predictions import FILE, read_predictions
from edgekd.training.over_seeds import Flags, accuracy_difference


def right(export: Path, file: str) -> Flags:
    """Which test images a file gets right."""
    name, _, other = file.partition("@")
    folder = export.with_name(f"{other}-{export.name.rpartition('-')[2]}") if other else export
    return read_predictions(folder / FILE).right(name)


def main(first: str, second: str, exports: list[Path]) -> None:
    flags = [np.stack([right(export, file) for export in exports]) for file in (first, second)]
    mean, (low, high) = accuracy_difference(*flags)
    each = ["  ".join(f"{100 * value:.2f}" for value in part.mean(1)) for part in flags]
    print(f"{first}: {each[0]} %   {second}: {each[1]} %")
    print(f"{second} - {first}: {100 * mean:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}], {len(exports)} seeds")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [Path(path) for path in sys.argv[3:]])
