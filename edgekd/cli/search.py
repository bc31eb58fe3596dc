"""``edgekd search``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgekd.cli.options import Exports, File, Json, Models, Overrides, print_json

if TYPE_CHECKING:
    from edgekd.report.search.schema import Front


def search(
    file: File,
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="How many in all, by all workers together.")],
    set_: Overrides = None,
    sampler: Annotated[
        Literal["tpe", "nsga2", "random"],
        typer.Option(help="Who proposes values: tpe learns from few trials, nsga2 suits hundreds."),
    ] = "tpe",
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Optuna's storage: an SQLite file (.db), a journal file, or a URL as postgresql://...; "
            "exports/NAME.search/study.db unless given.",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
) -> None:
    """Try many values of a pipeline file's settings, and keep the measured files that no other beats.

    The settings are those of the file's search section, else pruning, losses, learning rates and bits. The same
    command, typed again elsewhere, is one more worker; after a kill it goes on.

    Exit code 0: the best file keeps the budget, or none is given; 1: it misses it; 2: bad input.
    """
    from edgekd.pipeline.search import check_installed

    check_installed()
    found = _searched(file, set_ or [], trials, sampler, storage, models, exports, quiet=json_)
    if json_:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        _show(found, exports)
    raise typer.Exit(1 if found.outcome == "fail" else 0)


def _searched(
    file: Path,
    overrides: list[str],
    trials: int,
    sampler: Literal["tpe", "nsga2", "random"],
    storage: str | None,
    models: Path,
    exports: Path,
    *,
    quiet: bool,
) -> "Front":
    from edgekd.cli.terminal import live_progress
    from edgekd.pipeline.search.search import Places, search

    with live_progress(quiet) as progress:
        return search(file, overrides, trials, Places(models, exports, storage), sampler, progress)


def _show(front: "Front", exports: Path) -> None:
    from edgekd.cli.terminal import console
    from edgekd.report.search.schema import BEST, PAGE
    from edgekd.report.search.terminal import render_front

    folder = exports / f"{front.pipeline}.search"
    console().print(render_front(front))
    console().print(f"front: {folder / PAGE}\nbest: edgekd pipeline run {folder / BEST}")
