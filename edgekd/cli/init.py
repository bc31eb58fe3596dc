"""``edgekd init``."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def init(
    folder: Annotated[
        Path,
        typer.Argument(help="Pictures: one folder for each class, perhaps below train/ and test/.", show_default=False),
    ],
    isa: Annotated[
        Literal["host", "any", "x86-avx2", "x86-vnni", "arm64"], typer.Option(help="Instruction set of the target.")
    ] = "host",
    latency: Annotated[
        str | None, typer.Option(metavar="5ms", help="What one inference may take on this machine.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights of a network that you have; with --model.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network that the weights are of.", show_default=False)
    ] = None,
    normalization: Annotated[
        Literal["imagenet", "edgekd"], typer.Option(help="Pixels that the weights expect.")
    ] = "imagenet",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; NAME.yaml unless given.", show_default=False)
    ] = None,
) -> None:
    """Look at a folder of pictures and write a pipeline file that suits it, with a reason for each choice."""
    from edgekd.cli.terminal import console, live_progress
    from edgekd.pipeline.init.command import begin

    with live_progress() as progress:
        done = begin(
            folder,
            output,
            {
                "isa": isa,
                "latency": latency,
                "weights": weights,
                "model": model,
                "normalization": normalization,
            },
            progress,
        )
    for line in done:
        console().print(line, highlight=False, soft_wrap=True)
