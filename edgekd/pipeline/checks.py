"""Checks that can be made before anything runs."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekd.config.target import Target
from edgekd.data import Dataset
from edgekd.errors import ConfigError, DataError
from edgekd.pipeline.planned import Planned, placed
from edgekd.stages.manifests import ModelManifest, manifest_of
from edgekd.store.disk import disk_errors
from edgekd.training.parallel import Processes
from edgekd.zoo import ModelSpec, Widths, build, widths, with_widths

TAKEN = {
    "none": "it means no teacher",
    "model": "model.onnx ships",
    "report": "what is shipped in the end is called so",
}
"""Reserved names of stages, case-insensitive -> why."""


def check_name_of_stage(name: str, earlier: Sequence[str], where: str) -> None:
    """Raise ConfigError for a reserved or repeated name; names become file names, and a disk may ignore case."""
    if name.casefold() in TAKEN:
        found = f"{name!r} is no name for a stage: {TAKEN[name.casefold()]}"
        raise ConfigError(where, found, "choose another id")
    for other in earlier:
        if name == other:
            raise ConfigError(where, f"the id {name!r} is used twice", "give each stage an id of its own")
        if name.casefold() == other.casefold():
            found = f"the ids {other!r} and {name!r} differ in case alone, and so would their files"
            raise ConfigError(where, found, "choose another id")


def check_writable(*folders: Path) -> None:
    """Raise ArtifactError now, rather than after the work, if a folder cannot be written."""
    for folder in folders:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                tempfile.TemporaryFile(dir=folder).close()
            # The error names a random temporary file; the user needs the folder.
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(folder)) from None


def check_same_target(target: Target, processes: Processes) -> None:
    """Raise ConfigError unless ``host`` is the same target in every process."""
    isa = processes.of_first(target.resolved_isa)
    if target.resolved_isa != isa:
        found = f"host is {target.resolved_isa} for process {processes.rank + 1}, {isa} for the first"
        raise ConfigError("target.isa", found, "declare one")


def check_same_images(data: Dataset, processes: Processes) -> None:
    """Raise DataError unless every process reads the same images."""
    if processes.size == 1:
        return
    fingerprint = data.fingerprint()
    if fingerprint != processes.of_first(fingerprint):
        found = f"process {processes.rank + 1} reads other images than the first"
        raise DataError("data", found, "give every machine the same files")


def checked(plan: list[Planned], data: Dataset, target: Target, processes: Processes) -> list[Planned]:
    """The plan, after every check that is possible before it runs."""
    for index, item in enumerate(plan):
        with placed(index, item.name):
            item.stage.check_data(data, f"stages[{index}]")
    networks(plan, target)
    for index, item in enumerate(plan):
        if item.stage.trains and item.artifact is None:
            with placed(index, item.name):
                images = int(item.stage.deciding_settings()["batch_size"])
                processes.check_batch(min(images, len(item.stage.sees(data).seen)), "batch_size")
    return plan


def networks(plan: Sequence[Planned], target: Target) -> dict[str, tuple[ModelSpec, Widths]]:
    """How the network of each stage that leaves one is built, and its widths, as far as they can be known.

    Raises:
        EdgekdError: it cannot be built, pruned, quantized or exported, which is known before anything is trained.
    """
    specs: dict[str, ModelSpec] = {}
    untrained: dict[str, ModelSpec] = {}
    left: dict[str, Widths] = {}
    known: set[str] = set()
    for index, item in enumerate(plan):
        source, spec = item.references.get("source", ""), item.spec
        # What is up to date was checked when it was made.
        if item.artifact is None:
            with placed(index, item.name):
                to_train = {role: untrained[name] for role, name in item.references.items() if name in untrained}
                item.stage.check_inputs(to_train)
        if spec is None:
            continue
        specs[item.name] = spec
        if item.artifact is not None or (item.stage.knows_widths and (not source or source in known)):
            known.add(item.name)
        if item.artifact is not None:
            left[item.name] = manifest_of(item.artifact, ModelManifest).model.widths
        else:
            untrained[item.name] = spec
            with placed(index, item.name):
                # At the widths that earlier stages leave: once pruned, a network may have nothing left to prune.
                model = with_widths(build(spec), left.get(source, {}))
                left[item.name] = widths(item.stage.check_network(model, spec, target))
    return {name: (specs[name], left[name]) for name in known}
