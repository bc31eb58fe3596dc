"""2 000 mutated pipeline files and 500 mutated weights, ONNX files and images: one line or a result each, nothing else.

python -m benchmarks.hostile > benchmarks/hostile.txt
"""

import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from edgekd.ondevice.machine import cpu_name
from edgekd.training.environment import environment
from tests.hostile import FAILURES, Case, file_cases, fill, tried, yaml_cases

PIPELINES, FILES, SEED = 2_000, 500, 7
SECONDS = 60.0
"""That one file may take."""


def main() -> None:
    found = environment()
    print("python -m benchmarks.hostile > benchmarks/hostile.txt")
    print(
        f"{cpu_name()}, {found['cores']} cores; " + ", ".join(f"{name} {found[name]}" for name in ("python", "torch"))
    )
    print(f"load average before the first file: {os.getloadavg()[0]:.1f}")
    print(f"seed {SEED}; each file in a process apart, {SECONDS:.0f} s at most; fine: read, refused: one line or more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder)
        failed = _table(yaml_cases(PIPELINES, SEED, folder), folder)
        failed += _table(file_cases(FILES, SEED, folder), folder)
    for line in failed:
        print(line)
    print(f"{len(failed)} of {PIPELINES + FILES} ended in {', '.join(FAILURES)}")
    sys.exit(bool(failed))


def _table(cases: Iterator[Case], folder: Path) -> list[str]:
    """Print how the files of each ending ended; the failures."""
    kinds, seconds, failed = defaultdict[str, Counter[str]](Counter), defaultdict[str, float](float), []
    for case, outcome, took in tried(cases, folder, SECONDS):
        kinds[case.ending][outcome.kind] += 1
        seconds[case.ending] = max(seconds[case.ending], took)
        if outcome.kind in FAILURES:
            failed.append(f"  {case.made}, {case.ending}: {outcome.kind}: {outcome.words[:300]}")
    for ending, counts in kinds.items():
        told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        print(f"{ending:12} {counts.total():5}: {told}; the longest took {seconds[ending]:.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    main()
