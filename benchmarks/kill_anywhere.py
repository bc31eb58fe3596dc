"""Killed again and again at random moments, does a pipeline end with the bits of one that was left alone?

    OMP_NUM_THREADS=1 python -m benchmarks.kill_anywhere 60 > benchmarks/kill_anywhere.txt

Whole runs of teacher, prune, distill, qat, export and report in fresh folders. For each, four to eight stages are
drawn, each as likely, and for each of these a moment within the time that it took undisturbed: there a process gets
SIGKILL. The next goes on in the same folder, and the last one is left to end. After every kill whatever the store
takes for whole must have the bits of the undisturbed run, and so must everything at the end.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import count, pairwise
from pathlib import Path

from benchmarks import tiny_runs
from edgekd.pipeline import Pipeline
from edgekd.pipeline.inventory import collect, inventory
from edgekd.store.artifacts import Store

MOST_OF_ONE_RUN = 8
BEGIN = "begin"
"""What comes before the first stage: reading the file and the data."""


def main() -> None:
    kills = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        seconds, wanted = undisturbed(Path(scratch) / "undisturbed")
        print(tiny_runs.machine())
        print(f"undisturbed: {sum(seconds.values()):.1f} s, {len(wanted)} files of weights, models and predictions")
        hit = kill(Path(scratch), kills, seconds, wanted, random.Random(0))  # noqa: S311  (no secret)
    print(f"killed {hit.total()} times: {', '.join(f'{hit[stage]} in {stage}' for stage in seconds)}")
    print("every run ended with the bits of the undisturbed one; nothing half-written was ever taken for whole")


def undisturbed(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds that each stage takes, and the checksums that must come out."""
    folder.mkdir()
    began = time.monotonic()
    code, lines = tiny_runs.end(tiny_runs.start(folder))
    assert code == 0
    stages = [(line.split()[2], float(line.split()[0])) for line in lines if line.split()[1] == "stage"]
    moments = [(BEGIN, began), *stages, ("end", time.monotonic())]
    return {stage: after - at for (stage, at), (_, after) in pairwise(moments)}, tiny_runs.bits(folder)


def kill(
    scratch: Path, kills: int, seconds: dict[str, float], wanted: dict[str, str], generator: random.Random
) -> "Counter[str]":
    """Runs in fresh folders until so many processes were killed and the last has ended; the stages that were hit."""
    killed: Counter[str] = Counter()
    for number in count(1):
        folder = scratch / f"run-{number}"
        folder.mkdir()
        most = min(kills - killed.total(), generator.randint(MOST_OF_ONE_RUN // 2, MOST_OF_ONE_RUN))
        hit = run_killed(folder, most, seconds, wanted, generator)
        killed += hit
        print(
            f"run {number}: killed {hit.total()} times, same bits; left over and collected: {tidy(folder)}", flush=True
        )
        if killed.total() == kills:
            break
    return killed


def run_killed(
    folder: Path, most: int, seconds: dict[str, float], wanted: dict[str, str], generator: random.Random
) -> "Counter[str]":
    """One run, checked after each kill; the stages in which it was hit."""
    hit: Counter[str] = Counter()
    stages = list(seconds)
    for stage in sorted(generator.choices(stages, k=most), key=stages.index):
        run = tiny_runs.start(folder)
        reached = read_until(run, stage)
        time.sleep(generator.uniform(0, seconds[stage]))
        os.kill(run.process, signal.SIGKILL)
        code, lines = tiny_runs.end(run)
        if code == 0:  # it was faster
            break
        assert code == -signal.SIGKILL, code
        hit[next((line.split()[2] for line in reversed(lines) if line.split()[1] == "stage"), reached)] += 1
        check_whole(folder, wanted)
    code, _ = tiny_runs.end(tiny_runs.start(folder))
    assert code == 0
    assert tiny_runs.bits(folder) == wanted
    return hit


def read_until(run: tiny_runs.Run, stage: str) -> str:
    """Read what a run tells until it begins a stage; the last stage that it began."""
    reached = BEGIN
    while reached != stage and (line := run.told.readline()):
        reached = line.split()[2] if line.split()[1] == "stage" else reached
    return reached


def check_whole(folder: Path, wanted: dict[str, str]) -> None:
    """What the store takes for whole has the undisturbed run's bits."""
    if not (folder / "models").exists():
        return
    for planned in Pipeline.from_yaml(folder / "small.yaml").plan(folder / "models"):
        if planned.artifact is not None:
            place = planned.artifact.folder.relative_to(folder)
            names = {name for name in planned.artifact.manifest["files"] if name not in tiny_runs.DIFFER}
            assert {f"{place}/{name}" for name in names} == {name for name in wanted if name.startswith(f"{place}/")}
    found = tiny_runs.bits(folder)
    assert all(wanted[name] == checksum for name, checksum in found.items())


def tidy(folder: Path) -> int:
    """Collect what is left over; only what is shipped stays."""
    store, exports = Store(folder / "models"), folder / "exports"
    gone, _ = collect(inventory(store, exports), store, exports)
    assert all(entry.state == "complete" for entry in inventory(store, exports))
    return len(gone)


if __name__ == "__main__":
    main()
