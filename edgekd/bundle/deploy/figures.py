"""Has a device measure files, checks its figures, and adds them to the bundle."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from edgekd.bundle.bench import named_files
from edgekd.bundle.check import checked
from edgekd.bundle.deploy.connection import Connection
from edgekd.bundle.deploy.delivery import Deployed, bench_on_device
from edgekd.bundle.deploy.protocol import shown
from edgekd.bundle.runner import RUNNER, runner_source
from edgekd.bundle.write import add_device
from edgekd.config.progress import Progress
from edgekd.errors import DeviceError
from edgekd.report.load import load_report, report_path
from edgekd.report.record import Count, Milliseconds, Record
from edgekd.report.roles import teacher_of
from edgekd.report.schema import DeviceModel, DeviceReport, Latency, Ratio, Report


class Machine(Record):
    """A device as its runner describes it."""

    cpu: str
    isa: str
    machine: str
    cores: Count
    system: str
    python: str
    numpy: str
    onnxruntime: str


class Benched(Record):
    """One file's latency."""

    file: str
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    latency_ms: Latency
    ratio: float = Field(gt=0, lt=1e9)
    ci95: tuple[float, float]
    rounds_ms: list[Milliseconds] = Field(max_length=10_000)
    load_ms: Milliseconds
    peak_rss_bytes: Count | None


class Bench(Record):
    """What the runner's ``--bench --json`` gives, see ``edgekd.ondevice.bench``."""

    format: Literal[2]
    machine: Machine
    threads: Count
    batch: Count
    files: list[Benched]
    temperature_c: tuple[float | None, float | None]
    throttled: bool | None


def measure_files(
    connection: Connection, files: Sequence[tuple[str, Path]], threads: int, batch: int, progress: Progress
) -> Bench:
    """Measure files on a device against one another; the ratios are to the first.

    Args:
        connection: the device.
        files: what to measure, each with the name that its figures are shown under.
        threads: of one inference.
        batch: images of one inference.
        progress: informed about the bytes sent.

    Raises:
        DeviceError: the device failed, or its answer is not understood.
    """
    # Numbered, since two bundles both have a model.onnx.
    sent = {f"{index}-{path.name}": path for index, (_, path) in enumerate(files)}
    arguments = [*sent, "--threads", str(threads), "--batch", str(batch)]
    progress.note(f"{connection.address.host}: measuring {len(files)} files")
    with tempfile.TemporaryDirectory() as folder:
        runner = Path(folder) / RUNNER
        runner.write_text(runner_source(), encoding="utf-8")
        answer = bench_on_device(connection, {**sent, RUNNER: runner}, arguments, progress)
    return _named(_understood(answer, connection.address.host), [*sent], [name for name, _ in files], connection)


def measure_bundle(
    connection: Connection, bundle: Path, deployed: Deployed, threads: int | None, progress: Progress
) -> tuple[Report, DeviceReport]:
    """Measure a deployed bundle's files on the device, and put the figures into the bundle and its report.

    Args:
        connection: the device.
        bundle: the bundle here.
        deployed: what came of deploying it.
        threads: of one inference; those of the bundle's target unless given.
        progress: informed about the bytes sent.

    Returns:
        The bundle's report, these figures in it, and what the device measured.

    Raises:
        DeviceError: the device failed, or its answer is not understood.
        ExportError: a model would make ONNX Runtime open other files.
        BundleError: the bundle here is not whole, holds other files by now than were measured, or cannot be written.
    """
    manifest, report = checked(bundle), load_report(report_path(bundle))
    base = teacher_of(report)
    target = manifest["target"]
    # Copies of what was checked: in the bundle other files may lie by the time they are sent.
    with named_files([bundle]) as files:
        # The teacher first: the ratios of a bench are to the first file.
        files = sorted(files, key=lambda named: base is None or named[0] != base.id)
        found = measure_files(connection, files, threads or target["threads"], target["batch"], progress)
    device = _device_report(connection.address.host, found, deployed)
    return add_device(bundle, device, deployed.model_sha256, progress), device


def _understood(answer: dict[str, Any], host: str) -> Bench:
    try:
        return Bench.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DeviceError(host, f"its figures are not understood: {shown(place)}: {first['msg']}") from None


def _named(found: Bench, sent: Sequence[str], names: Sequence[str], connection: Connection) -> Bench:
    if [about.file for about in found.files] != list(sent):
        raise DeviceError(connection.address.host, "it measured other files than were sent")
    files = [about.model_copy(update={"name": name}) for about, name in zip(found.files, names, strict=True)]
    plain = {key: shown(value) if isinstance(value, str) else value for key, value in found.machine}
    return found.model_copy(update={"files": files, "machine": Machine(**plain)})


def _device_report(host: str, found: Bench, deployed: Deployed) -> DeviceReport:
    machine = found.machine
    return DeviceReport(
        # Becomes part of a file name, device-NAME.json, and an IPv6 address has colons.
        name=re.sub(r"[^A-Za-z0-9_.-]", "-", host),
        cpu=machine.cpu,
        isa=machine.isa,
        machine=machine.machine,
        onnxruntime=machine.onnxruntime,
        python=machine.python,
        threads=found.threads,
        batch=found.batch,
        models=[
            DeviceModel(
                id=about.name,
                sha256=about.sha256,
                latency_ms=about.latency_ms,
                latency_ratio=Ratio(ratio=about.ratio, ci95=about.ci95),
                load_ms=about.load_ms,
                peak_rss_bytes=about.peak_rss_bytes,
            )
            for about in found.files
        ],
        temperature_c=max((value for value in found.temperature_c if value is not None), default=None),
        throttled=found.throttled,
        selftest=_selftest_words(deployed),
        warnings=[deployed.warning] if deployed.warning else [],
    )


def _selftest_words(deployed: Deployed) -> str:
    golden = deployed.selftest.get("golden")
    passed = f"The self-test of {deployed.version} passed there"
    if not isinstance(golden, dict):
        return f"{passed}."
    same, images = shown(golden.get("same_top1")), shown(golden.get("images"))
    difference, tolerance = golden.get("max_difference"), golden.get("tolerance")
    if not isinstance(difference, float | int) or not isinstance(tolerance, float | int):
        return f"{passed}."
    return (
        f"{passed}: {same} of {images} golden images the same class, logits within {difference:.3g} of those "
        f"recorded (allowed: {tolerance:.3g})."
    )
