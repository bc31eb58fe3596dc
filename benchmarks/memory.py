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
READ_AND_TRAIN = """
name: memory
data: {name: folder, root: images, cache: cache, image_size: 40}
stages:
  - {stage: teacher, model: resnet8, width_mult: 0.25, epochs: 1}
"""
EXPORT_AND_REPORT = READ_AND_TRAIN + "  - {stage: export}\n"


def main() -> None:
    print("python benchmarks/memory.py > benchmarks/memory.txt")
    print(f"{SIDE}x{SIDE} JPEG files; resnet8 of quarter width; each line is a process of its own, at its largest")
    peaks = {count: _peaks(count) for count in (5_000, 50_000)}
    ratios = [large / small for small, large in zip(*peaks.values(), strict=True)]
    told = " and ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"ratios {told}, at most {MOST} is wanted: {'kept' if max(ratios) <= MOST else 'MISSED'}")
    sys.exit(max(ratios) > MOST)


def _peaks(count: int) -> list[int]:
    """Largest resident sets, bytes: of reading and training, and of what comes after."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_images(folder / "images", count)
        peaks = []
        steps = (("images read, 1 epoch", READ_AND_TRAIN), ("export, report", EXPORT_AND_REPORT))
        for label, pipeline in steps:
            started = time.monotonic()
            peaks.append(_peak(folder, pipeline))
            about = f"{peaks[-1] / 1e6:.0f} MB, {time.monotonic() - started:.0f} s"
            print(f"{count:>6} images, {label}: {about}", flush=True)
        stored = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
        print(f"{count:>6} images are {stored / 1e6:.0f} MB resized", flush=True)
    return peaks


def _peak(folder: Path, pipeline: str) -> int:
    """Bytes: the largest resident set of a process that runs the pipeline."""
    (folder / "memory.yaml").write_text(pipeline, encoding="utf-8")
    code = "from edgekd.cli import main; main()"
    child = subprocess.Popen(  # noqa: S603  (this very program)
        [sys.executable, "-c", code, "pipeline", "run", "memory.yaml"],
        cwd=folder,
        stdout=sys.stderr,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):  # 1: the budget is missed, which does not matter here
        sys.exit(f"the pipeline ended with exit code {child.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
