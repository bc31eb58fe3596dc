"""From a folder to a pipeline file on disk, and what to say of it."""

import re
from collections.abc import Mapping
from pathlib import Path

from edgekd.config import read_yaml
from edgekd.config.progress import Progress
from edgekd.errors import ConfigError
from edgekd.pipeline.init.choices import Given, chosen
from edgekd.pipeline.init.estimate import minutes
from edgekd.pipeline.init.look import in_words, look
from edgekd.pipeline.init.text import pipeline_name, pipeline_text
from edgekd.pipeline.pipeline import Pipeline
from edgekd.store.disk import disk_errors


def begin(folder: Path, output: Path | None, wishes: Mapping[str, str | None], progress: Progress) -> list[str]:
    """Write a pipeline file for a folder of pictures; a file that is there stays.

    Args:
        folder: of pictures.
        output: the file to write; NAME.yaml in the current folder unless given.
        wishes: the options of ``edgekd init``.
        progress: informed about looking.

    Returns:
        Lines for the user.

    Raises:
        ConfigError: the file is there already, or wishes contradict one another.
        DataError: the folder has no classes.
    """
    given = _given(wishes)
    name = pipeline_name(folder.resolve().name)
    path = output or Path(f"{name}.yaml")
    if path.exists():
        raise ConfigError(str(path), "is there already", "name another file with --output, or delete it")
    seen = look(folder, progress)
    choices = chosen(seen, given)
    text = pipeline_text(name, seen, choices, f"edgekd pipeline run {path}")
    with disk_errors(path):
        path.write_text(text, encoding="utf-8")
    try:
        Pipeline.from_tree(read_yaml(path), str(path)).check()
    except ConfigError:
        path.unlink()
        raise
    took = minutes(seen, choices)
    return [
        *in_words(seen),
        f"{path}: {choices.model} at {choices.image_size} pixels; look at it, each choice has its reason",
        f"training will take about {max(1, round(took))} min on this machine's CPU (by a few steps of a fresh network)",
        f"next: edgekd pipeline run {path}",
    ]


def _given(wishes: Mapping[str, str | None]) -> Given:
    if (wishes["weights"] is None) != (wishes["model"] is None):
        raise ConfigError("--weights", "goes with --model, the network that they are of", "give both, or none")
    latency = None if wishes["latency"] is None else _milliseconds(wishes["latency"])
    if latency is not None and wishes["isa"] != "host":
        problem = f"is measured on this machine, and --isa is {wishes['isa']}"
        raise ConfigError("--latency", problem, "run edgekd init on that machine, or leave one out")
    rest = {key: value for key, value in wishes.items() if key != "latency" and value is not None}
    return Given(**rest, latency_ms=latency)


def _milliseconds(text: str) -> float:
    """
    >>> _milliseconds("5ms"), _milliseconds("0.3"), _milliseconds("2 s")
    (5.0, 0.3, 2000.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|)", text.strip())
    if found is None or not float(found[1]):
        raise ConfigError("--latency", f"is no time above 0, found {text!r}", "say e.g. 5ms")
    return float(found[1]) * (1000.0 if found[2] == "s" else 1.0)
