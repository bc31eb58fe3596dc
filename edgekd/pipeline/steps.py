"""Single steps of the chain on your own network, files or runs: ``edgekd.prune`` and the like."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgekd.config.target import Target
from edgekd.errors import ShapeError
from edgekd.ondevice.rounds import Load
from edgekd.ondevice.sizes import size_of
from edgekd.onnx_export import export_onnx
from edgekd.pruning.criteria import L2, Importance
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.report.compare.comparison import Comparison
from edgekd.report.record import Record
from edgekd.report.schema import Latency, Ratio
from edgekd.zoo import ModelSpec
from edgekd.zoo.modes import evaluating

AnyIsa = Literal["host", "any", "x86-avx2", "x86-vnni", "arm64"]


class FileLatency(Record):
    """One file's latency, and its ratio to that of the first file."""

    file: Path
    latency_ms: Latency
    ratio: Ratio


def prune(
    model: nn.Module, images: Tensor, ratio: float, *, importance: Importance | None = None, isa: AnyIsa = "host"
) -> nn.Module:
    """A smaller copy of a network: whole channels are removed, every layer loses about the same share.

    Args:
        model: a float classifier; it stays as it is.
        images: some that it takes, shape ``(count, channels, height, width)``.
        ratio: share of channels to remove, 0..1.
        importance: which channels matter; the norm of their weights unless given. For ``Taylor`` the model's
            parameters carry gradients.
        isa: widths are rounded to what suits its kernels.

    Returns:
        The copy, in eval mode. Train it again: nothing else brings its accuracy back.

    Raises:
        PruningError: the network cannot be traced, no layer of it can lose channels, or nothing would be removed.
        ShapeError: the images or the logits have another shape.
    """
    from edgekd.pruning.prune import prune as pruned

    spec, resolved = spec_of(model, images), Target(isa=isa).resolved_isa
    found = pruned(
        # 0.8 is the prune stage's default; a larger ratio raises it.
        model,
        spec,
        ratio,
        importance=importance or L2(),
        scope="layer",
        max_ratio=max(ratio, 0.8),
        isa=resolved,
    )
    return found.model


def quantize(model: nn.Module, images: Iterable[Tensor], *, isa: AnyIsa = "host") -> QuantizedModel:
    """A network that computes as integers will, its batch norms and ranges set by calibration images.

    Args:
        model: a float classifier; it stays as it is.
        images: batches that it takes, each ``(count, channels, height, width)``; some hundred images in all.
        isa: decides the range of the weights: 7 bits where the CPU's multiply saturates with 8.

    Returns:
        A module to call, to train further as any other (``train()`` lets ranges follow), and to export.

    Raises:
        QuantizationError: the network cannot be captured.
        ShapeError: the images or the logits have another shape.
    """
    batches = [*images]
    if not batches:
        raise ShapeError("images", "must be some batches to calibrate with, found none")
    quantized = QuantizedModel(model, spec_of(model, batches[0]), Target(isa=isa).scheme)
    quantized.correct_batchnorm(lambda: batches)
    quantized.calibrate(batches)
    return quantized


def export(model: nn.Module, path: str | Path, images: Tensor | None = None) -> Path:
    """Write a network as ONNX: raw uint8 pixels ``(batch, height, width, channels)`` in, float logits out.

    The file turns a pixel into ``(pixel - 128) / 64``, which is what the network must have been trained with.

    Args:
        model: a float classifier, or the result of ``quantize``.
        path: the file to write.
        images: sample input, shape ``(count, channels, height, width)``; not needed for a result of ``quantize``.

    Raises:
        QuantizationError: the network cannot be captured.
        ExportError: it computes something that ONNX has not.
        ShapeError: the images or the logits have another shape.
    """
    path = Path(path)
    if isinstance(model, QuantizedModel):
        export_onnx(model.integers(), model.spec, path)
    else:
        # Without images spec_of refuses the empty tensor with the right message.
        spec = spec_of(model, torch.empty(0) if images is None else images)
        export_onnx(float_graph(model, spec), spec, path)
    return path


def measure(files: Sequence[str | Path], *, threads: int = 1, batch: int = 1) -> list[FileLatency]:
    """Latency of ONNX files against one another, in interleaved rounds of several processes.

    Args:
        files: the first is what the others are compared with.
        threads: of one inference.
        batch: images of one inference.

    Raises:
        ExportError: ONNX Runtime refuses a file, or a process died.
    """
    from edgekd.ondevice.latency import paired_ratio, percentiles
    from edgekd.report.measuring import latencies

    paths = [Path(file) for file in files]
    found = latencies(paths, Load(threads, batch), 0, lambda done, total: None)
    ratios = [paired_ratio(rounds, found.rounds_ms[0]) for rounds in found.rounds_ms]
    return [
        FileLatency(
            file=path, latency_ms=Latency.model_validate(percentiles(runs)), ratio=Ratio(ratio=ratio, ci95=ci95)
        )
        for path, runs, (ratio, ci95) in zip(paths, found.runs_ms, ratios, strict=True)
    ]


def compare(*exports: str | Path) -> Comparison:
    """Compare finished runs, as ``edgekd compare`` does.

    Args:
        exports: two or more folders ``exports/<name>/``.

    Raises:
        ReportError: fewer than two, one given twice, or one that cannot be read.
    """
    from edgekd.report.compare.comparison import compare as compared
    from edgekd.report.compare.runs import load_runs

    return compared(load_runs([Path(export) for export in exports]))


def verify(bundle: str | Path) -> dict[str, Any]:
    """Check every file of a bundle, and its model's answers on this machine, as ``edgekd verify`` does.

    Args:
        bundle: a folder ``exports/<name>/``.

    Returns:
        Plain data: ``ok``, ``problems``, and what was found of the golden images and of this machine.

    Raises:
        BundleError: it is not a bundle, or not to be trusted.
    """
    from edgekd.bundle.check import verify as verified

    return verified(Path(bundle))


def spec_of(model: nn.Module, images: Tensor) -> ModelSpec:
    """Infer a classifier's input and output sizes by running it on images.

    Raises:
        ShapeError: they are not images, or the output is not logits ``(count, classes)``.
    """
    if images.dim() != 4:
        found = tuple(images.shape)
        raise ShapeError("images", f"must be images (count, channels, height, width), found {found}")
    with evaluating(model), torch.inference_mode():
        logits = model(images)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        gives = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ShapeError("model", f"must give logits (count, classes), found {gives}")
    return ModelSpec(
        name=type(model).__name__,
        num_classes=logits.shape[1],
        in_channels=images.shape[1],
        image_size=size_of(images.shape[2], images.shape[3]),
    )
