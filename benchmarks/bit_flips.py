"""One bit of one file of the store flips: is it noticed, never used, and made again as it was?

    python -m benchmarks.bit_flips 200 > benchmarks/bit_flips.txt

A whole run first. Then, so many times: a file of an artifact (weights, models, predictions, times, manifests) is drawn,
one of its bits flips, and the pipeline runs again. The run must name the artifact as damaged, set it aside with the
flipped bit in it, and end with the bits of the first run.
"""

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import tiny_runs


def main() -> None:
    flips = int(sys.argv[1])
    generator = random.Random(0)  # noqa: S311  (no secret)
    hit: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        code, _ = tiny_runs.end(tiny_runs.start(folder))
        assert code == 0
        wanted, names = tiny_runs.bits(folder), tiny_runs.artifacts(folder)
        print(tiny_runs.machine(), flush=True)
        for _ in range(flips):
            path = generator.choice(sorted(path for path in (folder / "models").rglob("*") if path.is_file()))
            flip(path, generator)
            run_again(folder, path, wanted, names)
            hit[path.name] += 1
    print(f"{flips} flips: {', '.join(f'{number} in {name}' for name, number in hit.most_common())}")
    print("every one was noticed, set aside and made again with the bits of the first run; none was used")


def flip(path: Path, generator: random.Random) -> None:
    """Turn over one bit of a file."""
    body = bytearray(path.read_bytes())
    place = generator.randrange(8 * len(body))
    body[place // 8] ^= 1 << place % 8
    path.write_bytes(body)


def run_again(folder: Path, path: Path, wanted: dict[str, str], names: list[str]) -> None:
    """Run, and check what became of the damaged file."""
    flipped, name = path.read_bytes(), path.parent.name
    code, lines = tiny_runs.end(tiny_runs.start(folder))
    assert code == 0
    assert [line for line in lines if f"note artifact {name} is damaged ({path.name} " in line], lines
    (aside,) = (folder / "models").glob("*.set-aside-*")
    assert aside.name.startswith(f"{name}.")
    assert (aside / "artifact" / path.name).read_bytes() == flipped
    for file in aside.rglob("*"):
        if file.is_file():
            file.unlink()
    (aside / "artifact").rmdir()
    aside.rmdir()
    assert tiny_runs.bits(folder) == wanted
    assert tiny_runs.artifacts(folder) == names


if __name__ == "__main__":
    main()
