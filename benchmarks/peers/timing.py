"""What files answer, and how long they take beside one another in one process."""

import random
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.runtimes import RUNTIMES, Answer

ROUNDS, SECONDS = 20, 0.01


def answers(name: str, path: Path, images: Any) -> Any:
    """The class that a file chooses for each image."""
    feed, answer = RUNTIMES[name].open(path)
    return np.array([np.argmax(answer(feed(image))) for image in images])


def rounds(files: dict[str, Path], image: Any, seed: int) -> dict[str, list[float]]:
    """Milliseconds of each file in every round, in a process of its own: files take turns in an order drawn anew."""
    order = random.Random(seed)  # noqa: S311  (no secret)
    names = list(files)
    order.shuffle(names)
    opened = {name: RUNTIMES[name].open(files[name]) for name in names}
    ready = {name: (answer, feed(image)) for name, (feed, answer) in opened.items()}
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS + 2):
        for name in order.sample(names, len(names)):
            took = timed(*ready[name])
            if number > 1:  # the first two warm up
                found[name].append(took)
    return found


def timed(answer: Answer, image: Any) -> float:
    """Median of runs within a few milliseconds."""
    times, began = list[float](), time.perf_counter()
    while not times or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        answer(image)
        times.append(1000 * (time.perf_counter() - start))
    return median(times)
