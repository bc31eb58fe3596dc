"""Checkpoints: one file per epoch, complete or absent, from which a training resumes bit for bit."""

import hashlib
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.store.disk import disk_errors
from edgekd.store.tensors import save_tensors

# The previous one stays as well: if the last is damaged, one epoch is lost instead of all.
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch.

    Args:
        tensors: by name: weights, best weights, momenta, states of torch's generators.
        facts: plain data: epochs done, logs, the best epoch, states of the other generators.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix.``, without it."""
        return {
            name.removeprefix(f"{prefix}."): value
            for name, value in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: created with the first one, deleted once the training's artifact is complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, epoch: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint under a temporary name and rename it; only the last two are kept.

        Raises:
            ArtifactError: the disk refuses; earlier checkpoints stay intact.
        """
        facts = json.dumps(checkpoint.facts)
        about = {"facts": facts, "sha256": _sha256(checkpoint.tensors, facts)}
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Left by a killed run: the artifact's lock keeps every other run out.
            for left_over in self.folder.glob(".writing-*"):
                left_over.unlink(missing_ok=True)
            beside = self.folder / f".writing-{os.getpid()}"
            try:
                save_tensors(beside, checkpoint.tensors, about)
                beside.rename(self.folder / f"epoch-{epoch:05d}.safetensors")
            finally:
                beside.unlink(missing_ok=True)
            for old in self._files()[KEPT:]:
                old.unlink()

    def latest(self) -> Checkpoint | None:
        """The last intact checkpoint; damaged ones are skipped."""
        return next((found for path in self._files() if (found := _read(path)) is not None), None)

    def discard(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("epoch-*.safetensors"), reverse=True)


def _read(path: Path) -> Checkpoint | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        if about["sha256"] != _sha256(tensors, about["facts"]):
            return None
        return Checkpoint(tensors, json.loads(about["facts"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _sha256(tensors: dict[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        # Viewed as bytes in torch, because numpy has no bfloat16; flattened, because a scalar has no axis to view as
        # bytes.
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def momenta(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """SGD's momentum of every parameter, by the parameter's name."""
    found = {name: optimizer.state[p].get("momentum_buffer") for name, p in model.named_parameters()}
    return {name: value for name, value in found.items() if value is not None}


@torch.no_grad()
def restore_momenta(model: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    """Restore an optimizer's momenta."""
    for name, parameter in model.named_parameters():
        if name in saved:
            # Laid out as the parameter is: other kernels, which may round otherwise, would compute with another layout.
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(saved[name])


def random_states() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of torch's global generators, the GPU's among them, and of Python's and numpy's as plain data."""
    of_torch = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        of_torch["gpu"] = torch.cuda.get_rng_state()
    # As lists: the facts are JSON, which has neither tuples nor arrays.
    version, numbers, gauss = random.getstate()
    drawn: Any = np.random.get_state(legacy=False)
    drawn["state"]["key"] = drawn["state"]["key"].tolist()
    return of_torch, {"python": [version, list(numbers), gauss], "numpy": drawn}


def restore_random_states(of_torch: dict[str, Tensor], others: dict[str, Any]) -> None:
    """Restore every generator; the GPU's only if there was and is one."""
    torch.set_rng_state(of_torch["torch"])
    if "gpu" in of_torch and torch.cuda.is_available():
        torch.cuda.set_rng_state(of_torch["gpu"])
    version, numbers, gauss = others["python"]
    random.setstate((version, tuple(numbers), gauss))
    drawn = others["numpy"]
    key = np.array(drawn["state"]["key"], dtype=np.uint32)
    np.random.set_state({**drawn, "state": {**drawn["state"], "key": key}})
