"""Every network of the zoo: what prunes, what runs in integers, and whether integers are faster on this CPU.

    python -m benchmarks.zoo                              # all of them, those with results are skipped
    python -m benchmarks.zoo mobilenet_v2 resnet18 --force

Weights are random (seed 0) and batch norms have the statistics of generated images: graph and speed are measured, not
accuracy. Writes this kind of CPU's part of benchmarks/zoo/results.json after every network, and results.md from it.
Nothing else may run meanwhile.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekd import onnx_export
from edgekd.config.progress import Progress
from edgekd.config.schemes import scheme_for
from edgekd.config.target import Target
from edgekd.data import as_input
from edgekd.errors import EdgekdError
from edgekd.ondevice.latency import paired_ratio
from edgekd.ondevice.machine import cpu_name, host_isa
from edgekd.onnx_export import ort
from edgekd.pruning.criteria import L2
from edgekd.pruning.prune import prune
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.report.measuring import measure_latency
from edgekd.training.environment import environment
from edgekd.zoo import ModelSpec, build, count_params
from tests.contract.test_zoo import NAMES
from tests.tiny import blurred_colours

SIZE, CLASSES, IMAGES = 224, 1000, 32
FOLDER = Path(__file__).parent / "zoo"
RESULTS, TABLE = FOLDER / "results.json", FOLDER / "results.md"

ABOUT = f"""Float and int8 file of each network at {SIZE}x{SIZE}, batch 1, one thread, in interleaved rounds. Weights
are random (seed 0), batch norms settled on generated images: graph and speed are measured, not accuracy. Agreement is
the share of {IMAGES} generated images for which torch's rounded network and ONNX Runtime choose the same of {CLASSES}
classes; an untrained network turns rounding ties into other classes. Trained ones are checked at every export."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NAMES), help="networks; all unless given")
    parser.add_argument("--force", action="store_true", help="measure those with results again")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    models = results.get(host_isa(), {}).get("models", {})
    for number, name in enumerate(arguments.names, 1):
        print(f"[{number}/{len(arguments.names)}] {name}", flush=True)
        if name in models and not arguments.force:
            print("  has results already", flush=True)
            continue
        models[name] = measured(name)
        write({**results, host_isa(): about_this_cpu(models)})


def about_this_cpu(models: dict[str, Any]) -> dict[str, Any]:
    """What was measured here, and where that is; networks in the order of the list."""
    ordered = {name: models[name] for name in sorted(models, key=lambda name: (*NAMES, name).index(name))}
    here = {**environment(), "cpu": cpu_name(), "weight_bits": scheme_for(host_isa()).weight_bits, "note": ABOUT}
    return {"about": here, "models": ordered}


def write(results: dict[str, Any]) -> None:
    """Both files, kinds of CPU in alphabetical order."""
    ordered = dict(sorted(results.items()))
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    TABLE.write_text("\n".join(["# The zoo", "", ABOUT, "", *(section(*of_cpu) for of_cpu in ordered.items())]))


def measured(name: str) -> dict[str, Any]:
    """Everything about one network; what refuses it, where it is refused."""
    spec = ModelSpec(name=name, num_classes=CLASSES, in_channels=3, image_size=SIZE)
    try:
        model = settled(spec)
        found = {"params": count_params(model), **pruned(model, spec)}
        with tempfile.TemporaryDirectory() as scratch:
            return {**found, **exported(model, spec, Path(scratch))}
    except EdgekdError as error:
        return {"refused": str(error)}


def images(count: int, seed: int = 0) -> Tensor:
    return blurred_colours(count, SIZE, seed)


def settled(spec: ModelSpec) -> nn.Module:
    torch.manual_seed(0)
    model = build(spec).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        for seed in range(3):
            model(as_input(images(8, seed)))
    return model.eval()


def pruned(model: nn.Module, spec: ModelSpec) -> dict[str, Any]:
    """Share of the MACs that half of the channels are, or why none goes."""
    try:
        smaller = prune(model, spec, 0.5, importance=L2(), scope="layer", max_ratio=0.8, isa=Target().resolved_isa)
    except EdgekdError as error:
        return {"not_prunable": error.problem}
    return {"macs_removed": 1 - smaller.macs[1] / smaller.macs[0]}


def exported(model: nn.Module, spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """Kernels, agreement and latencies of the two files."""
    files = [folder / "float.onnx", folder / "int8.onnx"]
    quantized = QuantizedModel(model, spec, scheme_for(host_isa()))
    quantized.calibrate(as_input(images(8, seed)) for seed in range(2))
    onnx_export.export_onnx(float_graph(model, spec), spec, files[0])
    onnx_export.export_onnx(quantized.integers(), spec, files[1])
    ort.session(files[1], optimised=folder / "optimised.onnx")
    census = onnx_export.census(folder / "optimised.onnx")
    islands = dict(sorted(Counter(op.split()[0] for op in census.float_ops).items()))
    print(f"  {census.integer} integer kernels, float: {islands or 'none'}", flush=True)
    return {
        "integer_kernels": census.integer,
        "float_islands": islands,
        "agreement": agreement(quantized, files[1]),
        "size_bytes": [path.stat().st_size for path in files],
        **latencies(files),
    }


def agreement(quantized: QuantizedModel, path: Path) -> float:
    pixels = images(IMAGES, seed=9)
    with torch.inference_mode():
        wanted = torch.cat([quantized(as_input(part)) for part in pixels.split(8)]).argmax(1).numpy()  # type: ignore[no-untyped-call]
    return float((ort.predict(ort.session(path), pixels.numpy(), 8).argmax(1) == wanted).mean())


def latencies(files: list[Path]) -> dict[str, Any]:
    """p50 of float and int8 in milliseconds, and int8's share of float's with its 95 % interval."""
    found = measure_latency(files, images(1, seed=9).numpy(), 1, seed=0, progress=_Printed(), label="latency")
    ratio, interval = paired_ratio(found.rounds_ms[1], found.rounds_ms[0])
    p50 = [float(np.median(runs)) for runs in found.runs_ms]
    print(f"  float {p50[0]:.2f} ms, int8 {p50[1]:.2f} ms, ratio {ratio:.3f} {interval}", flush=True)
    choice, reason = recommended(interval)
    return {
        "latency_p50_ms": {"float32": p50[0], "int8": p50[1]},
        "ratio": ratio,
        "ratio_interval": interval,
        "recommended": choice,
        "reason": reason,
    }


def recommended(interval: tuple[float, float]) -> tuple[str, str]:
    """Which file, and why: int8 only where it is faster for certain."""
    if interval[1] < 1:
        return "int8", "faster"
    return "float32", "int8 is slower" if interval[0] > 1 else "no difference measured"


class _Printed(Progress):
    def work(self, label: str, done: int, total: int) -> None:
        if done % 24 == 0:
            print(f"  {label}: {done} of {total} rounds", flush=True)


def section(isa: str, found: dict[str, Any]) -> str:
    """One kind of CPU's results as Markdown."""
    head = (
        "| network | params | MACs removed at 0.5 | integer kernels | float islands | agreement | float p50 ms "
        "| int8 p50 ms | int8 of float [95 %] | recommended |"
    )
    rows = [f"| {name} | {' | '.join(_cells(about))} |" for name, about in found["models"].items()]
    about = found["about"]
    title = f"## {isa}: {about['cpu']}, {about['weight_bits']}-bit weights"
    return "\n".join([title, "", head, "|---|" + "---:|" * 3 + "---|" + "---:|" * 4 + "---|", *rows, ""])


def _cells(about: dict[str, Any]) -> list[str]:
    if "refused" in about:
        return [about["refused"], *[""] * 8]
    removed = f"{about['macs_removed']:.0%}" if "macs_removed" in about else about["not_prunable"]
    low, high = about["ratio_interval"]
    return [
        f"{about['params'] / 1e6:.1f} M",
        removed,
        str(about["integer_kernels"]),
        ", ".join(f"{op} x{count}" for op, count in about["float_islands"].items()) or "none",
        f"{about['agreement']:.1%}",
        *(f"{value:.2f}" for value in about["latency_p50_ms"].values()),
        f"{about['ratio']:.2f} [{low:.2f}, {high:.2f}]",
        f"{about['recommended']} ({about['reason']})",
    ]


if __name__ == "__main__":
    main()
