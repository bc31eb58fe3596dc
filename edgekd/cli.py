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
