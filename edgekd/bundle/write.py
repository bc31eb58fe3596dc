"""Writes ``exports/<name>/``, complete or not at all: the files for a device, golden images, and the reports."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bundle.alone import alone
from edgekd.bundle.check import checked
from edgekd.bundle.golden import Golden
from edgekd.bundle.input import Input
from edgekd.bundle.readme import readme
from edgekd.bundle.runner import RUNNER, runner_source
from edgekd.config.progress import Progress
from edgekd.errors import BundleError, ReportError, printable
from edgekd.ondevice.contents import FORMAT, GOLDEN, MODEL, sealed, sha256_of
from edgekd.ondevice.fields import MANIFEST
from edgekd.report.ablation.load import load_ablation
from edgekd.report.ablation.schema import FILE as ABLATION
from edgekd.report.ablation.schema import PAGE, Ablation
from edgekd.report.load import load_report
from edgekd.report.roles import recommended_of
from edgekd.report.schema import DeviceReport, Report
from edgekd.store.folder import written_beside

ON_DEVICE = (MODEL, GOLDEN, RUNNER, "labels.txt", "README.md")
"""Files that are sent to a device."""


def write_bundle(
    folder: Path,
    report: Report,
    sources: Mapping[str, Path],
    pixels: Input,
    golden: Golden,
    versions: Mapping[str, Any],
    extra: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a bundle under a temporary name and rename it; a device's figures are kept if the files are the same.

    So is an ablation, which says itself which settings it is about.

    Args:
        folder: the bundle.
        report: what was measured.
        sources: model id -> path of its file.
        pixels: the input of the files.
        golden: the golden images.
        versions: ``opset``, ``ir_version`` and ``onnxruntime_min`` of the files.
        extra: writes further files into the given folder.

    Raises:
        BundleError: the disk refuses.
    """
    kept, ablation = _device_reports(folder, report), _ablation_files(folder)
    with written_beside(folder, f".{folder.name}-") as beside:
        for model in report.models:
            shutil.copy2(sources[model.id], beside / model.file)
        # Line number = class number: a line break in a name would shift all classes behind it.
        classes = [printable(name) for name in report.data.class_names]
        (beside / "labels.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        np.savez_compressed(beside / GOLDEN, images=golden.images, logits=golden.logits, labels=golden.labels)
        (beside / RUNNER).write_text(runner_source(), encoding="utf-8")
        (beside / "README.md").write_text(readme(report, pixels), encoding="utf-8")
        extra(beside)
        _write_reports(beside, report.model_copy(update={"devices": kept}))
        for path in ablation:
            shutil.copy2(path, beside / path.name)
        _seal(beside, _body(report, pixels, golden, versions))


def add_device(folder: Path, found: DeviceReport, served_sha256: str, progress: Progress) -> Report:
    """Add a device's figures to a bundle: as a file of their own, and in the report.

    Args:
        folder: the bundle.
        found: what the device measured.
        served_sha256: checksum of the ``model.onnx`` that the device tested and serves.
        progress: informed if this process has to wait for another one that writes the bundle.

    Returns:
        The new report.

    Raises:
        BundleError: the bundle is damaged, holds other files than were measured, or the disk refuses.
        ReportError: its report cannot be read.
    """
    folder = folder.resolve()
    with alone(folder, progress):
        manifest = checked(folder)
        report = load_report(folder / "report.json")
        _check_same_files(folder, report, found, served_sha256)
        others = [device for device in report.devices if device.name != found.name]
        report = report.model_copy(update={"devices": [*others, found]})
        # A complete new bundle instead of files changed in place: a reader never sees a report whose checksum is not in
        # the manifest.
        with written_beside(folder, f".{folder.name}-") as beside:
            shutil.copytree(folder, beside, dirs_exist_ok=True)
            _write_reports(beside, report)
            _seal(beside, {key: value for key, value in manifest.items() if key not in ("files", "digest")})
    return report


def add_ablation(folder: Path, ablation: Ablation, progress: Progress) -> None:
    """Put an ablation and its page into ``exports/<name>/``, whether a bundle is there yet or not.

    Args:
        folder: a bundle, which stays whole, or the place of one to come.
        ablation: what was found.
        progress: informed if this process has to wait for another one that writes the bundle.

    Raises:
        ArtifactError: the disk refuses.
    """
    # Imported here: it draws with matplotlib.
    from edgekd.report.ablation.page import render_ablation_html

    folder = folder.resolve()
    with alone(folder, progress), written_beside(folder, f".{folder.name}-") as beside:
        if folder.is_dir():
            shutil.copytree(folder, beside, dirs_exist_ok=True)
        text = ablation.model_dump_json(by_alias=True, indent=1)
        (beside / ABLATION).write_text(text + "\n", encoding="utf-8")
        (beside / PAGE).write_text(render_ablation_html(ablation), encoding="utf-8")
        # A damaged bundle is not sealed again: its manifest goes on telling what is wrong.
        with contextlib.suppress(BundleError):
            manifest = checked(folder)
            _seal(beside, {key: value for key, value in manifest.items() if key not in ("files", "digest")})


def _check_same_files(folder: Path, report: Report, found: DeviceReport, served_sha256: str) -> None:
    """Raise BundleError if a run has replaced the measured files meanwhile."""
    here = {model.id: model.sha256 for model in report.models}
    other = [model.id for model in found.models if here.get(model.id) != model.sha256]
    chosen = recommended_of(report)
    if chosen is None or chosen.sha256 != served_sha256:
        other.append(MODEL)
    if other:
        problem = f"{', '.join(other)}: the files were exported anew while {found.name} measured those before"
        raise BundleError(str(folder), problem, "its figures were not added: deploy again")


def _body(report: Report, pixels: Input, golden: Golden, versions: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without its files."""
    model = recommended_of(report)
    assert model is not None
    return {
        "format": FORMAT,
        "name": report.pipeline,
        "edgekd": report.environment.get("edgekd", ""),
        "created": report.created,
        "recommended": model.id,
        **versions,
        "input": pixels.fields(),
        "classes": report.data.class_names,
        "target": {
            "isa": report.target.isa,
            "weight_bits": model.widest_bits,
            "threads": report.target.threads,
            "batch": report.target.batch,
        },
        "golden": {"images": len(golden.images), "tolerance": golden.tolerance, "derived": golden.derived},
        "models": [{"id": item.id, "file": item.file, "precision": item.precision} for item in report.models],
    }


def _seal(beside: Path, body: Mapping[str, Any]) -> None:
    files = {}
    for path in sorted(beside.iterdir()):
        if path.name != MANIFEST:
            goes = path.name in ON_DEVICE
            files[path.name] = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size, "device": goes}
    (beside / MANIFEST).write_text(sealed({**body, "files": files}), encoding="utf-8")


def _write_reports(beside: Path, report: Report) -> None:
    # Imported here: it draws with matplotlib, and most commands draw nothing.
    from edgekd.report.page.report_page import render_html

    text = report.model_dump_json(by_alias=True, indent=1)
    (beside / "report.json").write_text(text + "\n", encoding="utf-8")
    (beside / "report.html").write_text(render_html(report), encoding="utf-8")
    for device in report.devices:
        text = device.model_dump_json(indent=1)
        (beside / f"device-{device.name}.json").write_text(text + "\n", encoding="utf-8")


def _ablation_files(folder: Path) -> list[Path]:
    """An ablation and its page, unless they are damaged."""
    with contextlib.suppress(ReportError):
        if load_ablation(folder / ABLATION) is not None:
            return [path for path in (folder / ABLATION, folder / PAGE) if path.is_file()]
    return []


def _device_reports(folder: Path, report: Report) -> list[DeviceReport]:
    """Earlier figures of devices for exactly these files; none if the old bundle is damaged."""
    try:
        checked(folder)
        before = load_report(folder / "report.json")
    except (BundleError, ReportError):
        return []
    same = {model.id: model.sha256 for model in before.models} == {model.id: model.sha256 for model in report.models}
    return before.devices if same and before.recommended == report.recommended else []
