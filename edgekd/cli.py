"""The command line: thin commands, the only place that prints, and the only one that imports the rest lazily."""

import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edgekd.errors import ConfigError, EdgekdError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
pipeline_app = typer.Typer(no_args_is_help=True, help="Run or plan a pipeline file.")
app.add_typer(pipeline_app, name="pipeline")

File = Annotated[Path, typer.Argument(help="Pipeline YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", help="Put a value in place of the file's; may be given several times."
    ),
]
Models = Annotated[Path, typer.Option(help="Folder of the model store.")]
Exports = Annotated[Path, typer.Option(help="Folder that receives one folder per pipeline.")]


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
) -> None:
    """Run a pipeline's stages in order, skipping those that are up to date, then measure and report.

    Exit code 0: done, the budget is kept; 1: the budget is missed; 2: bad input.
    """
    from edgekd.pipeline import Pipeline
    from edgekd.terminal import console, live_progress, render_target

    pipeline = Pipeline.from_yaml(file, set_ or ())
    console().print(render_target(pipeline.target))
    with live_progress() as progress:
        report = pipeline.run(models, exports, force=force, progress=progress)
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


@app.command()
def deploy(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, made by an export.", show_default=False)],
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="ssh://[user@]host[:port]/path on the device.", show_default=False)
    ],
    keep: Annotated[int, typer.Option(min=1, help="Versions that stay on the device.")] = 3,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before; send nothing.")] = False,
    accept_new_host_key: Annotated[
        bool, typer.Option("--accept-new-host-key", help="Take the key of a device that was never seen.")
    ] = False,
    python: Annotated[str, typer.Option(help="Interpreter on the device, as in a virtual environment.")] = "python3",
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Threads of the bench on the device.")] = None,
) -> None:
    """Copy a bundle to a device over ssh, test it there, switch to it, measure it there.

    What the device served before is served on until the new version has passed its self-test there.
    """
    from datetime import UTC, datetime

    from edgekd import device
    from edgekd.terminal import console, live_progress, render_bench, render_deployed

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
        if not rollback:
            arguments = [] if threads is None else ["--threads", str(threads)]
            with live_progress() as progress:
                report = device.bench_on_device(connection, device.device_files(bundle), arguments, progress)
            console().print(render_bench(where.host, report))


@app.command()
def doctor() -> None:
    """Show this machine's CPU, instruction set, versions, and whether its integer multiply saturates."""
    from edgekd.terminal import console, render_doctor

    console().print(render_doctor())


class Interrupted(BaseException):
    """Ctrl-C; an own kind, because typer would make exit code 1 of a KeyboardInterrupt."""


def main() -> NoReturn:
    """The program: errors become one line each and exit code 2, Ctrl-C 130."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    signal.signal(signal.SIGINT, _interrupt)
    # torchao 0.18.0 makes torch 2.14 warn of an enum on every import; it can go with the next torchao
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    try:
        app(arguments, prog_name="edgekd")
    except EdgekdError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        for line in error.lines if isinstance(error, ConfigError) else [str(error)]:
            print(f"edgekd: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted:
        print(
            "edgekd: interrupted; complete stages and epochs are kept: run the same command to go on", file=sys.stderr
        )
        sys.exit(130)
    sys.exit(0)


def _interrupt(_signal: int, _frame: object) -> None:
    raise Interrupted
