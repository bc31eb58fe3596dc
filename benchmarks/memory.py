"""The same small pipeline over 5 000 and over 50 000 images on disk: its peak memory must not follow their number.

python benchmarks/memory.py > benchmarks/memory.txt
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, SIDE = 10, 64
MOST = 1.15
PIPELINE = """
name: memory
data: {name: folder, root: images, cache: cache, image_size: 56}
stages:
  - {stage: teacher, model: resnet8, width_mult: 0.25, epochs: 1}
  - {stage: export}
"""


def main() -> None:
    print("python benchmarks/memory.py")
    print(f"resnet8 of quarter width, 1 epoch, export, report; {SIDE}x{SIDE} JPEG files, decoded in the same run")
    peaks = [_peak(count) for count in (5_000, 50_000)]
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f}, at most {MOST} is wanted: {'kept' if ratio <= MOST else 'MISSED'}")
    sys.exit(ratio > MOST)


def _peak(count: int) -> int:
    """Bytes: the largest resident set of the process that runs the pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        _make_images(Path(folder) / "images", count)
        (Path(folder) / "memory.yaml").write_text(PIPELINE, encoding="utf-8")
        code = "from edgekd.cli import main; main()"
        started = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-c", code, "pipeline", "run", "memory.yaml"],
            cwd=folder,
            stdout=sys.stderr,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in (0, 1):  # 1: the budget is missed, which does not matter here
            sys.exit(f"the pipeline ended with exit code {child.returncode}")
        cache = sum(path.stat().st_size for path in (Path(folder) / "cache").rglob("*") if path.is_file())
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    seconds = time.monotonic() - started
    print(f"{count:>6} images, {cache / 1e6:.0f} MB resized: {peak / 1e6:.0f} MB at most, {seconds:.0f} s", flush=True)
    return peak


def _make_images(root: Path, count: int) -> None:
    """Noise with a bright spot whose place is the class."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"class{label}").mkdir(parents=True)
    for number in range(count):
        label = number % CLASSES
        pixels = random.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[16:48, 6 * label : 6 * label + 10] += 120
        Image.fromarray(pixels).save(root / f"class{label}" / f"{number}.jpg")


if __name__ == "__main__":
    main()
