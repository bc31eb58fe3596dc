"""The command line: thin commands, the only place that prints, and the only one that imports the rest lazily."""

import json
import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edgekd.errors import ConfigError, EdgekdError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
pipeline_app = typer.Typer(no_args_is_help=True, help="Run or plan a pipeline file, or see how far it is.")
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
def doctor() -> None:
    """Show this machine's CPU, instruction set, versions, and whether its integer multiply saturates."""
    from edgekd.terminal import console, render_doctor

    console().print(render_doctor())


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
