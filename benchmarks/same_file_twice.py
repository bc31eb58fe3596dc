"""Do the intervals of latency ratios hold what they say, from one measurement to the next?

python benchmarks/same_file_twice.py exports/mobilenet/teacher.onnx exports/mobilenet/model.onnx [measurements]

Each measurement runs a teacher, a file and a copy of it, as a report does: over several processes. The file against its
copy must show no difference in 95 of 100 measurements. The file against the teacher must lie, in 95 of 100, where all
measurements together say that it does. Measurements begin at random moments; nothing else may run meanwhile.
"""

import itertools
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekd.ondevice.latency import interleaved, paired_ratio
from edgekd.ondevice.machine import cpu_name, usable_cores
from edgekd.ondevice.rounds import Load

LONGEST_PAUSE_SECONDS = 8
NOISE = Load(threads=1, batch=1)
Ratio = tuple[float, tuple[float, float]]


def main() -> None:
    teacher, path = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 30
    print(f"{cpu_name()}, {usable_cores()} cores\nfile against its copy | file against its teacher", flush=True)
    pauses, found = np.random.default_rng(0).uniform(0, LONGEST_PAUSE_SECONDS, count), list[tuple[Ratio, Ratio]]()
    with tempfile.TemporaryDirectory() as folder:
        files = [teacher, path, Path(shutil.copy(path, Path(folder) / "copy.onnx"))]
        for seed, pause in enumerate(pauses):
            time.sleep(pause)
            rounds = interleaved(files, NOISE, seed, lambda done, total: None).rounds_ms
            found.append((paired_ratio(rounds[1], rounds[2]), paired_ratio(rounds[1], rounds[0])))
            print(f"{seed}: {' | '.join(map(_words, found[-1]))}", flush=True)
    twice, to_teacher = zip(*found, strict=True)
    print(f"{path.name} against its copy: no difference measured in {_covering(twice, 1.0)} of {count}")
    _summary(path.name, to_teacher)


def _summary(name: str, ratios: Sequence[Ratio]) -> None:
    logs = np.log([ratio for ratio, _ in ratios])
    pooled = float(np.exp(logs.mean()))
    pairs = list(itertools.combinations([interval for _, interval in ratios], 2))
    overlapping = sum(one[0] <= other[1] and other[0] <= one[1] for one, other in pairs)
    half = float(np.mean([math.log(high / low) / 2 for _, (low, high) in ratios]))
    print(
        f"{name} against its teacher: {pooled:.4f} over all, in {_covering(ratios, pooled)} of {len(ratios)} intervals"
    )
    print(f"  {overlapping} of {len(pairs)} pairs of intervals overlap")
    print(f"  measurements spread by +-{196 * logs.std(ddof=1):.1f} % (95 %), their intervals say +-{100 * half:.1f} %")


def _covering(ratios: Sequence[Ratio], truth: float) -> int:
    return sum(low <= truth <= high for _, (low, high) in ratios)


def _words(ratio: Ratio) -> str:
    return f"{ratio[0]:.4f} [{ratio[1][0]:.4f}, {ratio[1][1]:.4f}]"


if __name__ == "__main__":
    main()
