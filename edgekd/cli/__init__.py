"""The command line: thin commands, the only place that prints, and the only one that imports the rest lazily."""

import importlib.metadata
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from edgekd.cli import bundles, init, pipelines, search, store
from edgekd.errors import ConfigError, EdgekdError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(init.init)
app.add_typer(pipelines.app, name="pipeline")
app.command()(search.search)
for command in (bundles.verify, bundles.predict, bundles.bench, bundles.deploy, bundles.compare):
    app.command()(command)
app.add_typer(store.app, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgekd {importlib.metadata.version('edgekd')}")
        raise typer.Exit


@app.callback()
def edgekd(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and end.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the code an error came from; anywhere on the line.")
    ] = False,
) -> None:
    """Prune, distil and quantize an image classifier for a small CPU, and prove the exported file."""


@app.command()
def doctor() -> None:
    """Show this machine's CPU, instruction set, versions, and whether its integer multiply saturates."""
    from edgekd.cli.terminal import console, render_doctor

    console().print(render_doctor())


class Interrupted(BaseException):
    """SIGINT or SIGTERM; a class of its own, because typer turns KeyboardInterrupt into exit code 1."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> NoReturn:
    """The program: errors become one line each and exit code 2, Ctrl-C 130, SIGTERM 143."""
    # Removed here, so that it may stand anywhere on the line; typer accepts it only before the command.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    # Both raise an exception, so that unfinished folders are removed and locks released on the way out.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Ignored, so that exceeding a file size limit (ulimit -f) raises OSError instead of killing the process.
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        app(arguments, prog_name="edgekd")
    except EdgekdError as error:
        _fail(error.lines if isinstance(error, ConfigError) else [str(error)], error.exit_code)
    except OSError as error:
        place, reason = error.filename or "the system", (error.strerror or str(error)).lower()
        _fail([f"{place}: {reason}; check room and permissions"], EdgekdError.exit_code)
    except MemoryError:
        _fail(["memory is short; end other programs"], EdgekdError.exit_code)
    except Interrupted as end:
        what = "interrupted" if end.number == signal.SIGINT else "terminated"
        kept = "; complete stages and epochs are kept: run the same command to go on"
        print(f"edgekd: {what}{kept if _goes_on(arguments) else ''}", file=sys.stderr)
        sys.exit(128 + end.number)
    sys.exit(0)


def _goes_on(arguments: Sequence[str]) -> bool:
    """Does the same command go on where it was stopped?"""
    return arguments[:2] in (["pipeline", "run"], ["pipeline", "ablate"]) or arguments[:1] == ["search"]


def _fail(lines: Sequence[str], exit_code: int) -> NoReturn:
    """Print errors, one line each, and with --debug the traceback."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    for line in lines:
        print(f"edgekd: {line}", file=sys.stderr)
    sys.exit(exit_code)


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)
