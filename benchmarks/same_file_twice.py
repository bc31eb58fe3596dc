"""How often the same file, measured against itself, is called faster or slower: it must be rare.

python benchmarks/same_file_twice.py exports/mobilenet/model.onnx [repeats]
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgekd import ort
from edgekd.measure import measure_latency
from edgekd.ondevice.latency import paired_ratio
from edgekd.runtime import Progress


def main() -> None:
    path, repeats = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    shape = [size if isinstance(size, int) else 1 for size in ort.session(path).get_inputs()[0].shape]
    covered = 0
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(shutil.copy(path, Path(folder) / f"{name}.onnx")) for name in "ab"]
        for seed in range(repeats):
            found = measure_latency(copies, np.zeros(shape, np.uint8), 1, seed=seed, progress=Progress(), label="")
            ratio, (low, high) = paired_ratio(found.rounds_ms[0], found.rounds_ms[1])
            covered += low <= 1 <= high
            print(f"{seed}: {ratio:.4f} [{low:.4f}, {high:.4f}]", flush=True)
    print(f"{path.name}: no difference measured in {covered} of {repeats} repeats")


if __name__ == "__main__":
    main()
