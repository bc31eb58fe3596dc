"""Plans of tiny ablations, and runs that nobody ran, with the answers and latencies that a test gives them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from edgekd.errors import EdgekdError
from edgekd.ondevice.latency import ROUNDS, Latencies
from edgekd.onnx_export import Census
from edgekd.pipeline.ablation.plan import Plan, Run, Wanted, planned
from edgekd.pipeline.ablation.runs import Ended
from edgekd.pipeline.pipeline import Outcome
from edgekd.report.subject import Measured, Subject
from edgekd.stages.manifests import ExportedFile
from edgekd.stages.manifests.models import Kept
from edgekd.store.artifacts import Artifact
from tests.chain import write_pipeline

FLOAT = """
    name: tiny
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 1, batch_size: 512}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: distill, epochs: 1, batch_size: 512}
      - {stage: export}
"""
"""The shortest chain in which something is taught: only floats, which are exported in a moment."""
WHOLE = FLOAT.replace(
    "      - {stage: export}", "      - {stage: qat, epochs: 2, batch_size: 512}\n      - {stage: export}"
)


def plan_of(folder: Path, text: str = FLOAT, overrides: Sequence[str] = (), **wanted: object) -> Plan:
    return planned(write_pipeline(folder, text), overrides, Wanted(**wanted))  # type: ignore[arg-type]


def file_of(name: str, stage: str, size_bytes: int, kept: Kept | None = None) -> ExportedFile:
    return ExportedFile(
        id=name,
        stage=stage,
        role="model",
        file=f"{name}.onnx",
        sha256="0" * 64,
        size_bytes=size_bytes,
        params=100,
        macs=10 * size_bytes,
        agreement=1.0,
        drift=None,
        kernels=Census(0, 0, [], {}),
        scheme=None,
        kept=kept,
        calibrated=False,
        max_abs_weight=None,
    )


def outcome(run: Run, wrong: Mapping[str, int], milliseconds: Mapping[str, float], **sizes: int) -> Outcome:
    """What was measured on the files of some stages.

    Args:
        wrong: stage -> so many images of test, from the first on, and of val are wrong.
        milliseconds: stage -> latency in every round.
        sizes: stage -> bytes; 1000 unless given.
    """
    data = run.data
    files = [file_of(name, name, sizes.get(name, 1000)) for name in wrong]
    chosen = {}
    for name, count in wrong.items():
        for key, labels in ((name, data.test.labels), (f"{name}/val", data.val.labels)):
            chosen[key] = labels.clone()
            chosen[key][:count] = (labels[:count] + 1) % 10
    rounds = np.array([[milliseconds[name]] * ROUNDS for name in wrong])
    measured = Measured(files, Path(), chosen, Latencies(list(rounds), rounds), saturates=False, costs={})
    pipeline = run.pipeline
    subject = Subject(pipeline.name, run.seed, data, pipeline.target, pipeline.budget, {}, {}, {})
    return Outcome(subject, Artifact(Path(), {}), measured)


def ended(plan: Plan, outcomes: Mapping[tuple[str, int], Outcome | EdgekdError]) -> list[Ended]:
    runs = {(run.arm, run.seed): run for run in plan.runs}
    return [Ended(runs[key], found, None) for key, found in outcomes.items()]


def run_of(plan: Plan, arm: str, seed: int) -> Run:
    return next(run for run in plan.runs if (run.arm, run.seed) == (arm, seed))


def without_first(labels: torch.Tensor, count: int) -> np.ndarray:
    """All right but so many from the first on."""
    right = np.ones(len(labels), bool)
    right[:count] = False
    return right
