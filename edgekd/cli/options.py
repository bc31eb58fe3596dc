"""Arguments and options that several commands share, and how they print."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="Pipeline YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", help="Put a value in place of the file's; may be given several times."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Models = Annotated[Path, typer.Option(help="Folder of the model store.")]
Exports = Annotated[Path, typer.Option(help="Folder that receives one folder per pipeline.")]
Bundle = Annotated[Path, typer.Argument(help="A bundle, exports/NAME.", show_default=False)]
Python = Annotated[str, typer.Option(help="Interpreter on the device, as in a virtual environment.")]


def print_json(found: object) -> None:
    """Print for a machine."""
    print(json.dumps(found, indent=1, ensure_ascii=False))


def print_lines(lines: Sequence[str]) -> None:
    """Print for a person."""
    for line in lines:
        print(line)
