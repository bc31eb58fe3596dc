"""One bit of one file of the store flips: is it noticed, never used, and made again as it was?

    OMP_NUM_THREADS=1 python -m benchmarks.bit_flips 200 > benchmarks/bit_flips.txt

A second number is the seed of what is drawn; several processes with a seed each share the work.

A whole run first. Then, again and again: a file is drawn (weights, models, predictions, times, manifests), then files
of up to three other artifacts; in each one bit flips, and the pipeline runs again. The run must name each of these
artifacts as damaged, set each aside with the flipped bit in it, and end with the bits of the first run.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import tiny_runs

AT_ONCE = 4
"""Artifacts of six."""


def main() -> None:
    flips = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    generator = random.Random(seed)  # noqa: S311  (no secret)
    hit: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        code, _ = tiny_runs.end(tiny_runs.start(folder))
        assert code == 0
        wanted, names = tiny_runs.bits(folder), tiny_runs.artifacts(folder)
        print(tiny_runs.machine(), flush=True)
        while hit.total() < flips:
            paths = drawn(folder, min(AT_ONCE, flips - hit.total()), generator)
            for path in paths:
                flip(path, generator)
            run_again(folder, paths, wanted, names)
            hit.update(path.name for path in paths)
            print(f"{hit.total()} of {flips}", file=sys.stderr, flush=True)
    print(f"{flips} flips (seed {seed}): {', '.join(f'{number} in {name}' for name, number in hit.most_common())}")
    print("every one was noticed, set aside and made again with the bits of the first run; none was used")


def drawn(folder: Path, count: int, generator: random.Random) -> list[Path]:
    """Files of so many artifacts, one of each, every file as likely."""
    paths: dict[str, Path] = {}
    while len(paths) < count:
        path = generator.choice(sorted(path for path in (folder / "models").rglob("*") if path.is_file()))
        paths.setdefault(path.parent.name, path)
    return list(paths.values())


def flip(path: Path, generator: random.Random) -> None:
    """Turn over one bit of a file."""
    body = bytearray(path.read_bytes())
    place = generator.randrange(8 * len(body))
    body[place // 8] ^= 1 << place % 8
    path.write_bytes(body)


def run_again(folder: Path, paths: list[Path], wanted: dict[str, str], names: list[str]) -> None:
    """Run, and check what became of the damaged files."""
    flipped = {path: path.read_bytes() for path in paths}
    code, lines = tiny_runs.end(tiny_runs.start(folder))
    assert code == 0
    for path, body in flipped.items():
        name = path.parent.name
        assert [line for line in lines if f"note artifact {name} is damaged ({path.name} " in line], lines
        (aside,) = (folder / "models").glob(f"{name}.set-aside-*")
        assert (aside / "artifact" / path.name).read_bytes() == body
        shutil.rmtree(aside)
    assert tiny_runs.bits(folder) == wanted
    assert tiny_runs.artifacts(folder) == names


if __name__ == "__main__":
    main()
