"""``edgekd pipeline``: run, plan, status, and what its choices paid."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli.options import Exports, File, Json, Models, Overrides, print_json

if TYPE_CHECKING:
    from edgekd.pipeline.ablation import Wanted

app = typer.Typer(no_args_is_help=True, help="Run a pipeline file, or show how far it is.")


@app.command()
def run(
    file: File,
    set_: Overrides = None,
    force: Annotated[bool, typer.Option(help="Run stages and measurements that are up to date too.")] = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
    devices: Annotated[int, typer.Option(min=1, max=1024, help="Processes that share the training.")] = 1,
) -> None:
    """Run a pipeline's stages in order, skipping those that are up to date, then measure and report.

    Exit code 0: done, the budget is kept, or none is given; 1: the budget is missed, or only the teacher can be
    recommended; 2: bad input; 3: one of several processes was lost.
    """
    from edgekd.training.launch import check_devices, has_peers, launch, quiet_torch

    check_devices(devices)
    # The processes that ``launch`` starts get the same arguments, --devices included; their environment keeps them from
    # launching more.
    if has_peers():
        quiet_torch()
    elif devices > 1:
        ended = launch(devices, sys.argv[1:])
        print("".join(f"{line}\n" for line in ended.lines), end="", file=sys.stderr)
        raise typer.Exit(ended.exit_code)
    from edgekd.cli.terminal import console, libraries_unheard, live_progress, render_target
    from edgekd.pipeline import Pipeline
    from edgekd.training.parallel import joined

    with joined() as processes:
        with libraries_unheard():
            # Only the first process reads the file: other machines may not have it, or have an older one.
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
    from edgekd.report.terminal import render_table

    console().print(render_table(report))
    console().print(f"report: {exports / pipeline.name / 'report.html'}")
    raise typer.Exit(1 if report.verdict.outcome == "fail" else 0)


@app.command()
def plan(
    file: File,
    set_: Overrides = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Measure fresh networks: size and latency of what is to do; seconds each.")
    ] = False,
    models: Models = Path("models"),
) -> None:
    """Show a pipeline's stages and which are up to date; nothing is trained."""
    from edgekd.cli.terminal import console, libraries_unheard, live_progress, render_plan, render_target
    from edgekd.pipeline import Pipeline
    from edgekd.pipeline.predictions import predictions

    with libraries_unheard():
        pipeline = Pipeline.from_yaml(file, set_ or ())
        planned = pipeline.plan(models)
    with live_progress() as progress:
        predicted = predictions(pipeline, planned, progress) if predict else {}
    console().print(render_target(pipeline.target))
    console().print(render_plan(planned, predicted))


@app.command()
def schema() -> None:
    """Print the JSON schema of pipeline files, for editors."""
    from edgekd.cli.terminal import libraries_unheard
    from edgekd.pipeline.schema import schema

    with libraries_unheard():
        found = schema()
    print_json(found)


@app.command()
def sensitivity(file: File, set_: Overrides = None, json_: Json = False, models: Models = Path("models")) -> None:
    """Cut each group of channels alone by a quarter, a half, three quarters, and show the accuracy lost on val.

    For the file's first prune stage; what that stage begins with must have been trained. Nothing is trained or kept.
    """
    from edgekd.cli.terminal import console, libraries_unheard, live_progress, render_sensitivity
    from edgekd.pipeline import Pipeline
    from edgekd.pipeline.sensitivity import group_losses

    with libraries_unheard():
        pipeline = Pipeline.from_yaml(file, set_ or ())
    with live_progress() as progress:
        found = group_losses(pipeline, models, progress)
    if json_:
        print_json([asdict(group) for group in found])
    else:
        console().print(render_sensitivity(found))


@app.command()
def ablate(
    file: File,
    set_: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds, from the file's on.")] = 3,
    arms: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Only these arms, none for ''; all that apply unless given."),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTINGS", help="An arm of your own: 'distill.temperature=2 qat.epochs=3'; several times."
        ),
    ] = None,
    compared: Annotated[
        str | None,
        typer.Option("--file", metavar="ID", help="The stage whose file is compared; the first integer one."),
    ] = None,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
    json_: Json = False,
    status: Annotated[bool, typer.Option("--status", help="Show how far it is; nothing is run.")] = False,
) -> None:
    """Run a pipeline and its arms, each without one of its choices, over seeds; show what each choice paid.

    Writes exports/NAME/ablation.html and ablation.json. What was stopped goes on; several processes may share a store.
    Arms: labels, scratch, teacher-to-end or early-stop, by-width, qat-labels, ptq.
    """
    from edgekd.cli.terminal import console, live_progress
    from edgekd.pipeline.ablation import Wanted, planned
    from edgekd.pipeline.ablation import ablate as run_all

    named = None if arms is None else [name for name in arms.split(",") if name]
    wanted = Wanted(seeds, named, arm or (), compared)
    if status:
        _ablation_status(file, set_ or (), wanted, models, json_)
        return
    with live_progress(quiet=json_) as progress:
        found = run_all(planned(file, set_ or (), wanted, progress), models, exports, progress)
    if json_:
        print_json(found.model_dump(mode="json", by_alias=True))
        return
    from edgekd.report.ablation.terminal import render_ablation

    console().print(render_ablation(found))
    console().print(f"page: {exports / found.pipeline / 'ablation.html'}")


def _ablation_status(file: Path, set_: Sequence[str], wanted: "Wanted", models: Path, json_: bool) -> None:
    from edgekd.cli.terminal import console, libraries_unheard, render_ablation_status
    from edgekd.pipeline.ablation import ablation_status, planned

    with libraries_unheard():
        found = ablation_status(planned(file, set_, wanted), models)
    if json_:
        print_json(found.as_json())
    else:
        console().print(render_ablation_status(found))


@app.command()
def status(
    file: File,
    set_: Overrides = None,
    json_: Json = False,
    models: Models = Path("models"),
    exports: Exports = Path("exports"),
) -> None:
    """Show what is done, under way and to do, and how long it took; runs go on undisturbed."""
    from edgekd.cli.terminal import console, libraries_unheard, render_status
    from edgekd.pipeline import Pipeline
    from edgekd.pipeline.status import as_json, pipeline_status

    with libraries_unheard():
        pipeline = Pipeline.from_yaml(file, set_ or ())
        found = pipeline_status(pipeline, models, exports)
    if json_:
        print_json(as_json(pipeline, found))
    else:
        console().print(render_status(found))
