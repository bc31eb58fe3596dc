"""What a plan says of stages that have not run."""

import io
from pathlib import Path

from rich.console import Console

from edgekd.cli.terminal import render_plan
from edgekd.config.progress import Progress
from edgekd.pipeline import Pipeline
from edgekd.pipeline.predictions import predictions
from tests.chain import write_pipeline

CHAIN = """
    name: foreseen
    data: {name: digits, image_size: 8}
    target: {isa: host}
    stages:
      - {stage: teacher, model: resnet8, epochs: 500}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: ptq}
      - {stage: export}
"""


def test_sizes_and_the_latency_of_what_is_to_do_are_foreseen(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, CHAIN))
    planned = pipeline.plan(tmp_path / "models")
    shown = Console(width=160, file=io.StringIO(), record=True)

    found = predictions(pipeline, planned, Progress())

    assert list(found) == ["teacher", "prune", "ptq"]
    assert found["prune"].macs == found["ptq"].macs < found["teacher"].macs
    assert found["teacher"].size_kb is None
    assert found["ptq"].size_kb is not None
    assert found["ptq"].params / 1000 < found["ptq"].size_kb < 2 * found["ptq"].params / 1000
    assert found["ptq"].latency_ms is not None
    shown.print(render_plan(planned, found))
    assert f"{found['ptq'].size_kb:.3g}" in shown.export_text().splitlines()[3]


def test_widths_that_depend_on_weights_are_not_foreseen(tmp_path: Path) -> None:
    text = CHAIN.replace("pruning_ratio: 0.5", "pruning_ratio: 0.5, scope: global")
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, text))

    assert list(predictions(pipeline, pipeline.plan(tmp_path / "models"), Progress())) == ["teacher"]
