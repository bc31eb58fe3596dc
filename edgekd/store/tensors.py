"""Tensors on disk, as safetensors: loading them executes no code."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from edgekd.errors import ArtifactError
from edgekd.store.artifacts import Artifact
from edgekd.store.disk import disk_errors


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str] | None = None) -> None:
    """Write tensors, and optional metadata, as safetensors.

    Raises:
        ArtifactError: the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # safetensors refuses tensors that share memory, as tied weights do, and those that are not contiguous, as
    # channels-last weights are.
    plain = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    with disk_errors(path):
        try:
            save_file(plain, path, metadata=facts)
        # safetensors wraps the OSError in a class of its own, which ``disk_errors`` does not catch.
        except SafetensorError as error:
            raise OSError(None, str(error).removeprefix("Error while serializing: "), str(path)) from None


def load_tensors(artifact: Artifact, name: str) -> dict[str, Tensor]:
    """Read tensors from a safetensors file that the artifact's manifest lists.

    Raises:
        ArtifactError: the file is not listed, damaged, or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # From the bytes that were checked: the path may lead to another file by now.
        return load(artifact.read(name))
    except SafetensorError as error:
        problem = f"is not a safetensors file ({error})"
        raise ArtifactError(str(artifact.folder / name), problem, "delete the folder and run again") from None
