"""One file on several CPUs, real and emulated: golden images, and logits against this CPU's.

    python benchmarks/any_cpu.py exports/mobilenet_w4 'PYTHON' 'qemu-x86_64-static -cpu Nehalem PYTHON' ...

Each further argument is the command line of a Python that has numpy and ONNX Runtime. ARM64 without a board: Debian's
qemu-user-static and its arm64 packages of python3.11 unpacked into ROOT, aarch64 wheels of onnxruntime 1.23.2 and numpy
unpacked into SITE: ``env PYTHONHOME=ROOT/usr PYTHONPATH=SITE qemu-aarch64-static -cpu cortex-a72 -L ROOT
ROOT/usr/bin/python3.11``. An emulator says nothing of speed.
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgekd.data import Digits, load_dataset

IMAGES = 64
PROGRAM = """
import sys, numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pixels = np.load(sys.argv[2])
np.save(sys.argv[3], np.concatenate([session.run(None, {"pixels": pixels[i : i + 1]})[0] for i in range(len(pixels))]))
print("ONNX Runtime", ort.__version__)
"""


def main() -> None:
    bundle = Path(sys.argv[1]).absolute()
    test = load_dataset(Digits(image_size=32)).test
    reference = None
    with tempfile.TemporaryDirectory() as scratch:
        np.save(f"{scratch}/pixels.npy", test.images[:IMAGES].numpy())
        for command in sys.argv[2:]:
            python = shlex.split(command)
            files = [str(bundle / "model.onnx"), f"{scratch}/pixels.npy", f"{scratch}/logits.npy"]
            ran = subprocess.run([*python, "-c", PROGRAM, *files], capture_output=True, text=True, check=True)  # noqa: S603
            golden = subprocess.run(  # noqa: S603
                [*python, "edgekd_run.py", "--selftest"], cwd=bundle, capture_output=True, text=True, check=False
            )
            logits = np.load(f"{scratch}/logits.npy")
            reference = logits if reference is None else reference
            same = (logits.argmax(1) == reference.argmax(1)).mean()
            apart = np.abs(logits - reference).max()
            print(Path(python[0]).name, *(word for word in python[1:] if "/" not in word), ran.stdout.strip())
            print(f"  {(golden.stdout.strip().splitlines() or golden.stderr.strip().splitlines())[-1]}")
            print(f"  same class as the first on {same:.1%} of {IMAGES} test images, logits at most {apart:.3g} apart")


if __name__ == "__main__":
    main()
