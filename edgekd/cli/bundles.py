"""Commands on what was exported: verify, predict, bench, deploy, compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.options import Bundle, Json, Python, print_json, print_lines
from edgekd.ondevice.limits import MOST_BATCH, MOST_THREADS

if TYPE_CHECKING:
    from edgekd.config.progress import Progress


def verify(
    bundle: Bundle,
    emulate: Annotated[
        str | None, typer.Option(metavar="CPU", help="Test it on an emulated ARM64 CPU, as cortex-a72, by QEMU.")
    ] = None,
    arm64: Annotated[
        Path, typer.Option(help="Folder with an arm64 Python and ONNX Runtime (docs/emulated_arm.md), for --emulate.")
    ] = Path("~/.cache/edgekd/arm64"),
    json_: Json = False,
) -> None:
    """Check every file of a bundle, and its model's answers on this machine against those recorded in it.

    Exit code 0: all is well; 1: something is not what it was, named on a line each; 2: no bundle, or none to trust.
    """
    from edgekd.bundle.check import verify as found_in
    from edgekd.bundle.emulate import verify_emulated
    from edgekd.cli.terminal import libraries_unheard
    from edgekd.ondevice.program import selftest_lines

    if emulate is None:
        with libraries_unheard():
            found = found_in(bundle)
    else:
        found = verify_emulated(bundle, emulate, arm64)
    told = [] if emulate is None else [f"emulated {emulate}: answers alone, no timing"]
    print_json(found) if json_ else print_lines([*told, *selftest_lines(found)])
    raise typer.Exit(0 if found["ok"] else 1)


def predict(
    bundle: Bundle,
    images: Annotated[list[Path], typer.Argument(help="Image files, or .npy arrays.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="Classes of each image.")] = 5,
    json_: Json = False,
) -> None:
    """Classify image files or arrays with a bundle's model: labels and probabilities, the likeliest first."""
    from edgekd.bundle.check import predict as classes_of
    from edgekd.cli.terminal import libraries_unheard
    from edgekd.ondevice.program import classes_lines

    with libraries_unheard():
        found = classes_of(bundle, images, top)
    print_json(found) if json_ else print_lines([line for about in found for line in classes_lines(about)])


def bench(
    subjects: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE|FILE.onnx...", help="Bundles and ONNX files.", show_default=False)
    ],
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="Threads of one inference.")] = 1,
    batch: Annotated[int, typer.Option(min=1, max=MOST_BATCH, help="Images of one inference.")] = 1,
    device: Annotated[str | None, typer.Option(metavar="SSH", help="Measure there: ssh://[user@]host[:port].")] = None,
    python: Python = "python3",
    json_: Json = False,
) -> None:
    """Latency of files against one another, in interleaved rounds of ten processes; the ratios are to the first.

    A bundle as the only argument stands for all of its files, among several for its recommended one.
    """
    from edgekd.bundle.bench import bench_here, named_files
    from edgekd.cli.terminal import live_progress
    from edgekd.ondevice.bench import bench_lines

    with live_progress(quiet=json_) as progress, named_files(subjects) as files:
        if device is None:
            found = bench_here(files, threads, batch, progress)
        else:
            found = _bench_there(device, python, files, threads, batch, progress)
    print_json(found) if json_ else print_lines(bench_lines(found))


def _bench_there(
    address: str, python: str, files: "Sequence[tuple[str, Path]]", threads: int, batch: int, progress: "Progress"
) -> "Mapping[str, Any]":
    from edgekd.bundle import deploy as device

    with device.connect(device.parse_host(address), python=python) as connection:
        return device.measure_files(connection, files, threads, batch, progress).model_dump()


def deploy(
    bundle: Bundle,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="ssh://[user@]host[:port]/path on the device.", show_default=False)
    ],
    keep: Annotated[int, typer.Option(min=1, help="Versions that stay on the device.")] = 3,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before; send nothing.")] = False,
    accept_new_host_key: Annotated[
        bool, typer.Option("--accept-new-host-key", help="Take the key of a device that was never seen.")
    ] = False,
    python: Python = "python3",
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="Threads of the bench on the device.")
    ] = None,
) -> None:
    """Copy a bundle to a device over ssh, test it there, switch to it, measure it there.

    The old version stays in service until the new one has passed its self-test there.
    """
    from datetime import UTC, datetime

    from edgekd.bundle import deploy as device
    from edgekd.cli.terminal import console, live_progress, render_deployed
    from edgekd.report.terminal import render_device

    where = device.parse_address(address)
    with device.connect(where, python=python, accept_new_host_key=accept_new_host_key) as connection:
        if connection.accepted_key:
            console().print(f"{where.host}: its host key is known from now on: {connection.accepted_key}")
        with live_progress() as progress:
            if rollback:
                done = device.rollback(connection, progress)
            else:
                done = device.deploy(connection, bundle, now=datetime.now(UTC), keep=keep, progress=progress)
        console().print(render_deployed(where.host, done))
        if rollback:
            return
        with live_progress() as progress:
            report, found = device.measure_bundle(connection, bundle, done, threads, progress)
        console().print(render_device(report, found))
        console().print(f"report: {bundle / 'report.html'}")


def compare(
    exports: Annotated[
        list[Path], typer.Argument(metavar="EXPORT...", help="Folders exports/<name>/, or their report.json files.")
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the comparison as a page too.")] = None,
    json_: Json = False,
) -> None:
    """Compare the recommended files of finished runs, and the settings that differ; nothing is measured."""
    from edgekd.report.compare.comparison import compare as held_against
    from edgekd.report.compare.runs import load_runs

    comparison = held_against(load_runs(exports))
    if html is not None:
        from edgekd.report.compare.page import write_comparison_html

        write_comparison_html(html, comparison)
    if json_:
        print(comparison.model_dump_json(by_alias=True, indent=1))
        return
    from edgekd.cli.terminal import console
    from edgekd.report.compare.terminal import render_comparison

    console().print(render_comparison(comparison))
    if html is not None:
        console().print(f"page: {html}")
