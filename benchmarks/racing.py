"""Two runs of one pipeline at once on one store: do they leave one set of artifacts and two right reports?

    OMP_NUM_THREADS=1 python -m benchmarks.racing 20 > benchmarks/racing.txt

Both begin in a fresh folder, the second up to two seconds after the first. Every epoch must be trained once by one of
them, the bits must be those of a run that was alone, and both reports must say the same of the same files.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import tiny_runs


def main() -> None:
    races = int(sys.argv[1])
    generator = random.Random(0)  # noqa: S311  (no secret)
    with tempfile.TemporaryDirectory() as scratch:
        alone = Path(scratch) / "alone"
        alone.mkdir()
        code, lines = tiny_runs.end(tiny_runs.start(alone, alone / "report.json"))
        assert code == 0
        print(tiny_runs.machine())
        for number in range(1, races + 1):
            folder = Path(scratch) / f"race-{number}"
            folder.mkdir()
            told = race(folder, generator.uniform(0, 2))
            check(folder, alone, told, lines)
            print(f"race {number}: {summary(told)}", flush=True)
    print(f"{races} races: each left one set of artifacts with the bits of a run alone, and both reports were right")


def race(folder: Path, gap_seconds: float) -> list[list[str]]:
    """What two runs told."""
    first = tiny_runs.start(folder, folder / "first.json")
    time.sleep(gap_seconds)
    second = tiny_runs.start(folder, folder / "second.json")
    ends = [tiny_runs.end(run) for run in (first, second)]
    assert [code for code, _ in ends] == [0, 0]
    return [lines for _, lines in ends]


def check(folder: Path, alone: Path, told: list[list[str]], told_alone: list[str]) -> None:
    """Every epoch once, the same bits, nothing left over, both reports right."""
    assert sorted(epochs(told[0]) + epochs(told[1])) == sorted(epochs(told_alone))
    assert tiny_runs.bits(folder) == tiny_runs.bits(alone)
    assert tiny_runs.artifacts(folder) == tiny_runs.artifacts(alone)
    assert [path.name for path in (folder / "exports").iterdir()] == ["tiny"]
    first, second, shipped, other = (
        tiny_runs.reported(path)
        for path in (
            folder / "first.json", folder / "second.json", folder / "exports" / "tiny" / "report.json",
            alone / "report.json",
        )
    )  # fmt: skip
    assert first == second == shipped
    assert [what_is_the_same(report) for report in (first, other)] == 2 * [what_is_the_same(other)]


def epochs(lines: list[str]) -> list[str]:
    """Every epoch that was trained, as ``stage number``."""
    return [" ".join(line.split()[2:4]) for line in lines if line.split()[1] == "epoch"]


def what_is_the_same(report: dict[str, object]) -> object:
    """Of two measurements of the same files on one machine: all but times."""
    models, stages = report["models"], report["stages"]
    assert isinstance(models, list)
    assert isinstance(stages, list)
    keys = ("id", "sha256", "size_bytes", "accuracy", "correct", "agreement", "kernels", "macs", "params")
    return [[model[key] for key in keys] for model in models], [(stage["id"], stage["digest"]) for stage in stages]


def summary(told: list[list[str]]) -> str:
    trained, waited = (
        [sum(word in line for line in lines) for lines in told] for word in (" epoch ", "another run is")
    )
    return f"epochs trained {trained[0]} + {trained[1]}, waited {waited[0]} + {waited[1]} times"


if __name__ == "__main__":
    main()
