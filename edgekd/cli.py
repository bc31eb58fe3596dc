"""The command line: thin commands, the only place that prints, and the only one that imports the rest lazily."""

import json
import logging
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from edgekd.errors import ConfigError, EdgekdError

if TYPE_CHECKING:
    from edgekd.runtime import Progress

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
pipeline_app = typer.Typer(no_args_is_help=True, help="Run or plan a pipeline file.")
app.add_typer(pipeline_app, name="pipeline")
store_app = typer.Typer(no_args_is_help=True, help="Show and tidy the model store.")
app.add_typer(store_app, name="store")

File = Annotated[Path, typer.Argument(help="Pipeline YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", help="Put a value in place of the file's; may be given several times."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Models = Annotated[Path, typer.Option(help="Folder of the model store.")]
Exports = Annotated[Path, typer.Option(help="Folder that receives one folder per pipeline.")]
Bundle = Annotated[Path, typer.Argument(help="A bundle, exports/NAME.", show_default=False)]
Python = Annotated[str, typer.Option(help="Interpreter on the device, as in a virtual environment.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def edgekd() -> None:
    """Prune, distil and quantize an image classifier for a small CPU, and prove the exported file."""


@pipeline_app.command()
def run(
    file: File,
    set_: Overrides = None,
    force: Annotated[bool, typer.Option(help="Run stages and measurements that are up to date too.")] = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
    devices: Annotated[int, typer.Option(min=1, max=1024, help="Processes that share the training.")] = 1,
) -> None:
    """Run a pipeline's stages in order, skipping those that are up to date, then measure and report.

    Exit code 0: done, the budget is kept; 1: the budget is missed; 2: bad input; 3: one of several processes was lost.
    """
    from edgekd.launch import check_devices, has_peers, launch, quiet_torch

    check_devices(devices)
    if has_peers():
        quiet_torch()
    elif devices > 1:
        ended = launch(devices, sys.argv[1:])
        print("".join(f"{line}\n" for line in ended.lines), end="", file=sys.stderr)
        raise typer.Exit(ended.exit_code)
    from edgekd.pipeline import Pipeline
    from edgekd.processes import joined
    from edgekd.terminal import console, live_progress, render_target

    with joined() as processes:
        pipeline = processes.by_first(lambda: Pipeline.from_yaml(file, set_ or ()))
        if not processes.first:
            pipeline.run(models, exports, force=force, processes=processes)
            return
        console().print(render_target(pipeline.target))
        with live_progress() as progress:
            report = pipeline.run(models, exports, force=force, progress=progress, processes=processes)
    if report is None:
        console().print(f"no export stage, so nothing to report; the models are in {models}")
        return
    from edgekd.report.table import render_table

    console().print(render_table(report))
    console().print(f"report: {exports / pipeline.name / 'report.html'}")
    raise typer.Exit(0 if report.verdict.passed else 1)


@pipeline_app.command()
def plan(file: File, set_: Overrides = None, models: Models = Path("models")) -> None:
    """Show a pipeline's stages and which are up to date; nothing is trained."""
    from edgekd.pipeline import Pipeline
    from edgekd.terminal import console, render_plan, render_target

    pipeline = Pipeline.from_yaml(file, set_ or ())
    console().print(render_target(pipeline.target))
    console().print(render_plan(pipeline.plan(models)))


@pipeline_app.command()
def status(
    file: File,
    set_: Overrides = None,
    json_: Json = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
) -> None:
    """Show what is done, under way and to do, and how long it took; runs go on undisturbed."""
    from edgekd.pipeline import Pipeline
    from edgekd.status import as_json, pipeline_status
    from edgekd.terminal import console, render_status

    pipeline = Pipeline.from_yaml(file, set_ or ())
    found = pipeline_status(pipeline, models, exports)
    if json_:
        print(json.dumps(as_json(pipeline, found), indent=1))
    else:
        console().print(render_status(found))


@store_app.command("list")
def list_store(json_: Json = False, models: Models = Path("models"), exports: Exports = Path("exports")) -> None:
    """Show what lies in the model store, whether it is whole, how much room it takes, and which export refers to it."""
    from edgekd.artifact import Store
    from edgekd.inventory import as_json, inventory
    from edgekd.terminal import console, render_inventory, total

    entries = inventory(Store(models), exports)
    if json_:
        print(json.dumps(as_json(entries), indent=1))
        return
    console().print(render_inventory(entries))
    console().print(f"in all: {total(entries)}")


@store_app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without it nothing is deleted.")] = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
) -> None:
    """Collect what no shipped export refers to, and what killed runs left; never what a run is using.

    Shipped is what has a report.json below the exports folder. Only shown, unless --delete is given.
    """
    from edgekd.artifact import Store
    from edgekd.inventory import collect, inventory
    from edgekd.terminal import console, render_inventory, total

    store = Store(models)
    entries = inventory(store, exports)
    doomed = [entry for entry in entries if not entry.kept]
    if not delete:
        console().print(render_inventory(doomed))
        console().print(f"dry run, nothing is deleted; --delete would delete {total(doomed)}")
        return
    gone, stays = collect(entries, store, exports)
    console().print(render_inventory(gone))
    console().print(f"deleted: {total(gone)}")
    if stays:
        console().print(f"kept, because a run has begun to use it: {', '.join(entry.path.name for entry in stays)}")


@app.command()
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
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Threads of the bench on the device.")] = None,
) -> None:
    """Copy a bundle to a device over ssh, test it there, switch to it, measure it there.

    What the device served before is served on until the new version has passed its self-test there.
    """
    from datetime import UTC, datetime

    from edgekd import device
    from edgekd.report.table import render_device
    from edgekd.terminal import console, live_progress, render_deployed

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


@app.command()
def doctor() -> None:
    """Show this machine's CPU, instruction set, versions, and whether its integer multiply saturates."""
    from edgekd.terminal import console, render_doctor

    console().print(render_doctor())


@app.command()
def verify(bundle: Bundle, json: AsJson = False) -> None:
    """Check every file of a bundle, and its model's answers on this machine against those recorded in it.

    Exit code 0: all is well; 1: something is not what it was, named on a line each; 2: no bundle, or none to trust.
    """
    from edgekd.bundle.check import verify as found_in
    from edgekd.ondevice.program import selftest_lines

    found = found_in(bundle)
    _print_json(found) if json else _print_lines(selftest_lines(found))
    raise typer.Exit(0 if found["ok"] else 1)


@app.command()
def predict(
    bundle: Bundle,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="Classes of each image.")] = 5,
    json: AsJson = False,
) -> None:
    """Classify image files with a bundle's model: labels and probabilities, the likeliest first."""
    from edgekd.bundle.check import predict as classes_of
    from edgekd.ondevice.program import classes_lines

    found = classes_of(bundle, images, top)
    _print_json(found) if json else _print_lines([line for about in found for line in classes_lines(about)])


@app.command()
def bench(
    subjects: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE|FILE.onnx...", help="Bundles and ONNX files.", show_default=False)
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of one inference.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images of one inference.")] = 1,
    device: Annotated[str | None, typer.Option(metavar="SSH", help="Measure there: ssh://[user@]host[:port].")] = None,
    python: Python = "python3",
    json: AsJson = False,
) -> None:
    """Latency of files against one another, in interleaved rounds of one run; the ratios are to the first.

    A bundle given alone stands for all of its files, beside others for the recommended one.
    """
    from edgekd.bundle.bench import bench_here, named_files
    from edgekd.ondevice.bench import bench_lines
    from edgekd.terminal import live_progress

    files = named_files(subjects)
    with live_progress(quiet=json) as progress:
        if device is None:
            found = bench_here(files, threads, batch, progress)
        else:
            found = _bench_there(device, python, files, threads, batch, progress)
    _print_json(found) if json else _print_lines(bench_lines(found))


def _bench_there(
    address: str, python: str, files: "Sequence[tuple[str, Path]]", threads: int, batch: int, progress: "Progress"
) -> "Mapping[str, Any]":
    from edgekd import device

    with device.connect(device.parse_host(address), python=python) as connection:
        return device.measure_files(connection, files, threads, batch, progress).model_dump()


def _print_json(found: object) -> None:
    import json

    print(json.dumps(found, indent=1, ensure_ascii=False))


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


@app.command()
def compare(
    exports: Annotated[
        list[Path], typer.Argument(metavar="EXPORT...", help="Folders exports/<name>/, or their report.json files.")
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the comparison as a page too.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it for a machine in place of the tables.")] = False,
) -> None:
    """Compare the recommended files of finished runs, and the settings that differ; nothing is measured."""
    from edgekd.report.compare import compare as held_against
    from edgekd.report.runs import load_runs

    comparison = held_against(load_runs(exports))
    if html is not None:
        from edgekd.report.compare_html import write_comparison_html

        write_comparison_html(html, comparison)
    if json:
        print(comparison.model_dump_json(by_alias=True, indent=1))
        return
    from edgekd.report.compare_table import render_comparison
    from edgekd.terminal import console

    console().print(render_comparison(comparison))
    if html is not None:
        console().print(f"page: {html}")


class Interrupted(BaseException):
    """Ctrl-C or a request to end; an own kind, because typer would make exit code 1 of a KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> NoReturn:
    """The program: errors become one line each and exit code 2, Ctrl-C 130, SIGTERM 143."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows too large is then an OSError
    # torchao 0.18.0 makes torch 2.14 warn of an enum on every import; it can go with the next torchao
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    try:
        app(arguments, prog_name="edgekd")
    except EdgekdError as error:
        _fail(error.lines if isinstance(error, ConfigError) else [str(error)], error.exit_code)
    except OSError as error:
        place, reason = error.filename or "the system", (error.strerror or str(error)).lower()
        _fail([f"{place}: {reason}; check room and permissions"], EdgekdError.exit_code)
    except Interrupted as end:
        what = "interrupted" if end.number == signal.SIGINT else "terminated"
        print(f"edgekd: {what}; complete stages and epochs are kept: run the same command to go on", file=sys.stderr)
        sys.exit(128 + end.number)
    sys.exit(0)


def _fail(lines: Sequence[str], exit_code: int) -> NoReturn:
    """Say what went wrong, a line each; with --debug where, too."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    for line in lines:
        print(f"edgekd: {line}", file=sys.stderr)
    sys.exit(exit_code)


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)
