"""What every kind of stage gives of fixed small inputs: a result that moves while its VERSION stays is a fault.

    python -m tests.stages.golden

writes ``golden.json`` anew; do so after raising the VERSION of the stage whose result was meant to move.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.pipeline import Pipeline
from edgekd.stages import STAGES, Stage
from edgekd.stages.manifests import ExportedFiles, StageManifest, manifest_of
from edgekd.store.artifacts import Artifact
from edgekd.store.tensors import load_tensors
from tests.chain import write_pipeline

FILE = Path(__file__).with_name("golden.json")
CHAIN = """
    name: golden
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: resnet8, epochs: 1, batch_size: 128}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: distill, epochs: 2, batch_size: 128, stop_teacher_at: 0.5}
      - {stage: qat, epochs: 1, batch_size: 128}
      - {stage: ptq, source: distill}
      - {stage: export, models: [qat]}
"""

Figures = dict[str, float]


def kinds() -> dict[str, type[Stage]]:
    """Every kind of stage there is."""
    return {kind.model_fields["stage"].default: kind for kind in STAGES}


def results() -> dict[str, dict[str, Any]]:
    """Each kind's version and figures, by one run of the chain on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            pipeline = Pipeline.from_yaml(write_pipeline(Path(scratch), CHAIN))
            pipeline.run(Path(scratch) / "models", Path(scratch) / "exports")
            plan = pipeline.plan(Path(scratch) / "models")
            found = {}
            for item in plan:
                assert item.artifact is not None
                found[item.stage.kind] = {"version": item.stage.VERSION, "figures": figures(item.artifact)}
            return found
    finally:
        torch.set_num_threads(threads)


def figures(artifact: Artifact) -> Figures:
    """Losses, norms of the tensors by kind, and what the exported files hold."""
    made = manifest_of(artifact, StageManifest)
    found: Figures = {}
    for log in made.history.epochs if made.history else []:
        found |= {f"epoch {log.epoch} {name}": value for name, value in log.losses.items()}
        found[f"epoch {log.epoch} lr"] = log.lr
    for name in sorted(artifact.manifest["files"]):
        if name.endswith(".safetensors"):
            found |= {f"{name} {kind}": norm for kind, norm in _norms(load_tensors(artifact, name)).items()}
    for file in made.exported if isinstance(made, ExportedFiles) else []:
        found |= {f"{file.id} params": file.params, f"{file.id} macs": file.macs}
        found |= {f"{file.id} {op}": count for op, count in file.kernels.ops.items()}
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def _norms(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The norm over all tensors whose names end alike."""
    squares: dict[str, float] = {}
    for name, tensor in tensors.items():
        kind = name.rpartition(".")[2]
        if kind not in ("min_val", "max_val"):  # single numbers, of which rounding makes much
            squares[kind] = squares.get(kind, 0.0) + float(tensor.double().square().sum())
    return {kind: square**0.5 for kind, square in squares.items()}


if __name__ == "__main__":
    FILE.write_text(json.dumps(results(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
