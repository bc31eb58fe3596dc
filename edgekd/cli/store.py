"""``edgekd store``: list, gc."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Exports, Json, Models, print_json

app = typer.Typer(no_args_is_help=True, help="Show and tidy the model store.")


@app.command("list")
def list_store(json_: Json = False, models: Models = Path("models"), exports: Exports = Path("exports")) -> None:
    """Show what lies in the model store, whether it is whole, how much room it takes, and which export refers to it."""
    from edgekd.cli.terminal import console, render_inventory, total
    from edgekd.pipeline.inventory import as_json, inventory
    from edgekd.store.artifacts import Store

    entries = inventory(Store(models), exports)
    if json_:
        print_json(as_json(entries))
        return
    console().print(render_inventory(entries))
    console().print(f"in all: {total(entries)}")


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without it nothing is deleted.")] = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
) -> None:
    """Collect what no shipped export refers to, and what killed runs left; never what a run is using.

    Shipped is what has a report.json below the exports folder. Only shown, unless --delete is given.
    """
    from edgekd.cli.terminal import console, render_inventory, total
    from edgekd.pipeline.inventory import collect, inventory
    from edgekd.store.artifacts import Store

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
