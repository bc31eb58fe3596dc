"""The same integer files on this CPU and on an emulated one without VNNI: what 8-bit weights lose there.

    python benchmarks/saturation.py exports/mobilenet/model.onnx ...

Needs Linux on x86-64 and qemu's user emulation (Debian: qemu-user-static), whose CPU has AVX2 and no VNNI.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from edgekd.data import Digits, load_dataset
from edgekd.onnx_export import ort


def table(paths: list[Path]) -> str:
    """Accuracy on the digits' test split of each file, as shipped and exact, on the CPU that runs this."""
    lines = [f"saturation probe: {'saturates' if ort.saturates() else 'exact'}"]
    for path in paths:
        size = ort.session(path).get_inputs()[0].shape[1]
        test = load_dataset(Digits(image_size=size)).test
        shares = [
            float(
                (
                    ort.predict(ort.session(path, exact=exact), test.images[:].numpy()).argmax(1) == test.labels.numpy()
                ).mean()
            )
            for exact in (False, True)
        ]
        lines.append(f"{path.name}: as shipped {shares[0]:.4f}, exact {shares[1]:.4f} ({len(test)} images)")
    return "\n".join(lines)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--only-here"]:
        print(table([Path(argument) for argument in arguments[1:]]), flush=True)
        return
    print("this CPU", table([Path(argument) for argument in arguments]), sep="\n", flush=True)
    emulator = shutil.which("qemu-x86_64-static")
    if emulator is None:
        sys.exit("qemu-x86_64-static is not installed (Debian: qemu-user-static)")
    print("emulated CPU with AVX2, without VNNI", flush=True)
    subprocess.run([emulator, "-cpu", "max", sys.executable, __file__, "--only-here", *arguments], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
