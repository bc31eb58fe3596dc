"""Is the latency of widths known before they are trained, and does pruning to a latency reach it at the first try?

    OMP_NUM_THREADS=1 python -m benchmarks.latency_budget > benchmarks/latency_budget.txt

Fresh weights: latency does not depend on them. For four networks: ten plans of widths are timed in sliced files, and
in exported files of networks that were pruned to them, in the same rounds; then widths for a share of the float file's
latency are found, and the exported file is measured as a report measures. Nothing else may run meanwhile.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import tiny_runs
from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.errors import PruningError
from edgekd.ondevice.latency import paired_ratio
from edgekd.ondevice.rounds import Load
from edgekd.onnx_export import export_onnx
from edgekd.pruning.criteria import L2
from edgekd.pruning.structure import Structure, structure_of
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.report.measuring import latencies
from edgekd.stages.budget_plan import Limit, widths_within
from edgekd.stages.costs import files_of
from edgekd.zoo import ModelSpec, build, example_images

RESNET20 = ModelSpec(name="resnet20", num_classes=10, in_channels=1, image_size=32)
NETWORKS = (
    (ModelSpec(name="mobilenet_v2", num_classes=10, in_channels=1, image_size=32), 0.3),
    (RESNET20, 0.3),
    (RESNET20.model_copy(update={"width_mult": 2.0}), 0.2),
    (ModelSpec(name="resnet14", num_classes=10, in_channels=1, image_size=28, width_mult=2.0), 0.3),
)
"""Each with the share of the float file's latency that is wanted."""
PLANS, MOST = 10, 0.8


def main() -> None:
    torch.set_num_threads(1)
    print(tiny_runs.machine())
    for spec, ratio in NETWORKS:
        torch.manual_seed(0)
        model = build(spec).eval()
        structure = structure_of(model, spec, L2())
        with tempfile.TemporaryDirectory() as scratch:
            print(f"\n{spec.name} at {spec.image_size} px, width {spec.width_mult:g}", flush=True)
            predictions(structure, Path(scratch))
            budget(structure, ratio, Path(scratch))


def predictions(structure: Structure, folder: Path) -> None:
    """Print the latency of sliced files divided by that of exported ones."""
    order = np.random.default_rng(1)
    plans = [drawn(structure, order) for _ in range(PLANS)]
    with files_of(structure.model, structure.spec, structure.groups, Target()) as files:
        began = time.monotonic()
        cut = [written(files.of(plan)[0], folder / f"sliced{number}.onnx") for number, plan in enumerate(plans)]
        each = (time.monotonic() - began) / PLANS
    real = [exported(structure.proved(plan), structure.spec, folder / f"{n}.onnx") for n, plan in enumerate(plans)]
    found = latencies([*cut, *real], Load(1, 1), 0, lambda done, total: None)
    p50 = [float(np.median(runs)) for runs in found.runs_ms]
    ratios = " ".join(f"{one / other:.3f}" for one, other in zip(p50[:PLANS], p50[PLANS:], strict=True))
    print(f"sliced of exported p50, {PLANS} plans of {min(p50):.3f} to {max(p50):.3f} ms: {ratios}")
    print(f"a file is sliced in {1000 * each:.0f} ms", flush=True)


def written(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def drawn(structure: Structure, order: np.random.Generator) -> list[int]:
    share = order.uniform(1 - MOST, 1)
    return [
        group.channels if group.kept_because else min(group.channels, max(8, 8 * round(group.channels * share / 8)))
        for group in structure.groups
    ]


def budget(structure: Structure, wanted: float, folder: Path) -> None:
    """Print what widths for a latency measure once they are exported."""
    spec, began = structure.spec, time.monotonic()
    limit = Limit("latency_ratio", wanted)
    try:
        chosen = widths_within(structure.model, spec, structure.groups, limit, MOST, Target(), Progress())
    except PruningError as error:
        print(f"refused after {time.monotonic() - began:.0f} s: {error}", flush=True)
        return
    took = time.monotonic() - began
    export_onnx(float_graph(structure.model, spec), spec, folder / "float.onnx")
    path = exported(structure.proved(chosen.keep), spec, folder / "chosen.onnx")
    found = latencies([folder / "float.onnx", path], Load(1, 1), 0, lambda done, total: None)
    ratio, (low, high) = paired_ratio(found.rounds_ms[1], found.rounds_ms[0])
    print(f"latency_ratio {wanted}: exported {ratio:.3f} [{low:.3f}, {high:.3f}], planned in {took:.0f} s", flush=True)


def exported(model: nn.Module, spec: ModelSpec, path: Path) -> Path:
    """The integer file of a network."""
    quantized = QuantizedModel(model, spec, Target().scheme)
    quantized.calibrate([example_images(spec, batch=2)])
    export_onnx(quantized.integers(), spec, path)
    return path


if __name__ == "__main__":
    main()
