"""The whole chain on a small network: what it leaves, what it skips, what it repeats."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console

from edgekd import Pipeline
from edgekd.cli.terminal import render_plan
from edgekd.config import validate
from edgekd.config.progress import Progress
from edgekd.data import Digits, load_dataset
from edgekd.errors import ConfigError, EdgekdError
from edgekd.onnx_export import ort
from edgekd.report.predictions import read_predictions
from edgekd.report.schema import Report
from edgekd.stages import AnyStage, Distill, Export, Prune, Qat, Teacher
from edgekd.store.artifacts import Store
from edgekd.store.tensors import load_tensors
from tests.chain import write_pipeline
from tests.made import loaded

pytestmark = pytest.mark.slow


class Notes(Progress):
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.epochs: list[tuple[str, dict[str, float]]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        self.epochs.append((label, dict(figures)))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report, Notes]:
    """A folder with the pipeline file, models/ and exports/ of one run; the report; what was told."""
    folder, notes = tmp_path_factory.mktemp("chain"), Notes()
    report = Pipeline.from_yaml(write_pipeline(folder)).run(folder / "models", folder / "exports", progress=notes)
    assert report is not None
    return folder, report, notes


def test_every_model_is_exported_measured_and_smaller_than_the_one_before(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran

    sizes = {model.id: (folder / "exports" / "small" / model.file).stat().st_size for model in report.models}

    assert list(sizes) == ["teacher", "prune", "distill", "qat", "qat.ptq"]
    assert sizes["teacher"] > 3 * sizes["prune"] > 3 * sizes["qat"]
    assert {model.id: model.size_bytes for model in report.models} == sizes
    assert all(model.agreement > 0.98 for model in report.models)  # 288 images, barely trained: near ties


def test_the_integer_file_is_wholly_integer_with_weights_of_seven_bits(ran: tuple[Path, Report, Notes]) -> None:
    _, report, _ = ran
    integer = next(model for model in report.models if model.id == "qat")

    assert integer.kernels.float == 0
    assert integer.kernels.integer >= 12
    assert integer.weight_bits == 7
    assert integer.max_abs_weight is not None
    assert integer.max_abs_weight <= 63


def test_the_accuracy_in_the_report_is_the_file_s_own(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    test = load_dataset(Digits(image_size=8)).test

    for model in report.models:
        runner = ort.session(folder / "exports" / "small" / model.file)
        answers = runner.run(None, {"pixels": test.images[:].numpy()})[0].argmax(1)
        assert model.correct == int((answers == test.labels.numpy()).sum())
        assert model.accuracy == pytest.approx(model.correct / model.total)


def test_report_json_reads_back_as_the_report(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran

    text = (folder / "exports" / "small" / "report.json").read_text(encoding="utf-8")

    assert Report.model_validate_json(text) == report
    body = json.loads(text)
    assert body["schema"] == 1
    assert body["verdict"]["pass"] is True
    assert {"id", "stage", "precision", "file", "sha256", "params", "macs", "size_bytes", "accuracy", "correct"} <= set(
        body["models"][0]
    )


def test_the_predictions_beside_the_report_are_those_it_counted(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    test = load_dataset(Digits(image_size=8)).test

    found = read_predictions(folder / "exports" / "small" / "predictions.npz")

    assert found.labels.tolist() == test.labels.tolist()
    assert {name: int(found.right(name).sum()) for name in found.chosen} == {
        model.id: model.correct for model in report.models
    }


def test_the_report_says_which_test_images_and_which_data_settings(ran: tuple[Path, Report, Notes]) -> None:
    _, report, _ = ran

    assert report.data.test_fingerprint == load_dataset(Digits(image_size=8)).test.fingerprint()
    assert report.data.settings == {"name": "digits", "image_size": 8, "augment": "shift_rotate_scale"}


def test_the_report_shows_seven_and_eight_bits_as_shipped_and_exact(ran: tuple[Path, Report, Notes]) -> None:
    _, report, _ = ran

    assert report.quantization is not None
    assert [item.bits for item in report.quantization.calibrated] == [7, 8]
    assert report.quantization.declared_bits == 7
    shipped, exact = report.quantization.calibrated[0].as_shipped, report.quantization.calibrated[0].exact
    assert abs(shipped - exact) <= 0.02  # 7 bits never saturate: only rounding ties differ


def test_losses_are_told_apart_in_the_log(ran: tuple[Path, Report, Notes]) -> None:
    _, _, notes = ran
    distilled = [figures for label, figures in notes.epochs if label == "distill"]

    assert len(distilled) == 3
    for figures in distilled:
        assert figures["loss"] == pytest.approx(0.1 * figures["ce"] + 0.9 * figures["kd"], rel=1e-4)
        assert 0 <= figures["val_accuracy"] <= 1


def test_a_second_run_runs_nothing_and_gives_the_same_figures(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    notes = Notes()

    again = Pipeline.from_yaml(folder / "small.yaml").run(folder / "models", folder / "exports", progress=notes)

    assert again is not None
    assert notes.epochs == []
    assert again.model_dump(exclude={"created"}) == report.model_dump(exclude={"created"})


def test_a_late_setting_changes_only_what_depends_on_it(ran: tuple[Path, Report, Notes]) -> None:
    folder, _, _ = ran

    plan = Pipeline.from_yaml(folder / "small.yaml", ["stages.qat.epochs=5"]).plan(folder / "models")

    assert {item.name: item.artifact is not None for item in plan} == {
        "teacher": True, "prune": True, "distill": True, "qat": False, "export": False,
    }  # fmt: skip


def test_other_threads_change_no_model(ran: tuple[Path, Report, Notes]) -> None:
    folder, _, _ = ran

    plan = Pipeline.from_yaml(folder / "small.yaml", ["target.threads=2"]).plan(folder / "models")

    assert all(item.artifact for item in plan)


def test_the_first_teacher_is_the_measure_whatever_the_order_of_export(ran: tuple[Path, Report, Notes]) -> None:
    folder, _, _ = ran
    order = ['stages.export.models=["prune","teacher"]']

    report = Pipeline.from_yaml(folder / "small.yaml", order).run(folder / "models", folder / "exports-2")

    assert report is not None
    assert [model.id for model in report.models] == ["prune", "teacher"]
    assert report.models[1].size_ratio == report.models[1].latency_ratio.ratio == 1.0
    assert report.models[0].size_ratio < 0.5


def test_a_file_for_another_cpu_is_held_against_exact_arithmetic_and_the_report_says_so(
    ran: tuple[Path, Report, Notes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU that saturates, 8-bit weights for ARM must neither be refused nor pass for this CPU's figures."""
    folder, _, _ = ran
    shutil.copytree(folder / "models", tmp_path / "models")
    for module in ("stages.export", "report.subject", "report.notes"):
        monkeypatch.setattr(f"edgekd.{module}.host_isa", lambda: "x86-avx2")
    asked: list[bool] = []
    session = ort.session

    def watched(*arguments: Any, exact: bool = False, **options: Any) -> Any:
        asked.append(exact)
        return session(*arguments, exact=exact, **options)

    monkeypatch.setattr(ort, "session", watched)
    changes = ["target.isa=arm64", 'stages.export.models=["qat"]']

    report = Pipeline.from_yaml(folder / "small.yaml", changes).run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    assert report.models[0].agreement > 0.98
    assert asked[0] is True
    assert report.notes[0].startswith("the files are for arm64, measured here on x86-avx2")


def test_another_target_keeps_the_teacher(ran: tuple[Path, Report, Notes]) -> None:
    folder, _, _ = ran

    plan = Pipeline.from_yaml(folder / "small.yaml", ["target.isa=arm64"]).plan(folder / "models")

    assert [item.name for item in plan if item.artifact] == ["teacher"]


def test_the_same_pipeline_gives_the_same_digests_and_weights_again(
    ran: tuple[Path, Report, Notes], tmp_path: Path
) -> None:
    folder, _, _ = ran
    short = [f"stages={json.dumps([{'stage': 'teacher', 'model': 'resnet8', 'epochs': 4}])}"]

    report = Pipeline.from_yaml(folder / "small.yaml", short).run(tmp_path / "models", tmp_path / "exports")

    assert report is None
    (again,) = Pipeline.from_yaml(folder / "small.yaml", short).plan(tmp_path / "models")
    first = Store(folder / "models").find(again.digest)
    assert first is not None
    assert again.artifact is not None
    one, other = (load_tensors(item, "weights.safetensors") for item in (first, again.artifact))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_damaged_artifact_is_set_aside_and_made_again(ran: tuple[Path, Report, Notes], tmp_path: Path) -> None:
    folder, report, _ = ran
    shutil.copytree(folder / "models", tmp_path / "models")
    export = next(
        item for item in Pipeline.from_yaml(folder / "small.yaml").plan(tmp_path / "models") if item.name == "prune"
    )
    assert export.artifact is not None
    path = export.artifact.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")

    pipeline, notes = Pipeline.from_yaml(folder / "small.yaml", ['stages.export.models=["prune"]']), Notes()
    again = pipeline.run(tmp_path / "models", tmp_path / "exports", progress=notes)

    assert again is not None
    assert f"artifact {export.digest[:16]} is damaged (weights.safetensors is not as it was written)" in notes.notes[1]
    assert again.models[0].sha256 == next(model.sha256 for model in report.models if model.id == "prune")
    assert list((tmp_path / "models").glob("*.set-aside-*"))


def test_exported_files_load_where_torch_cannot_be_imported(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import onnxruntime, numpy\n"
        "for path in sys.argv[1:]:\n"
        "    runner = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])\n"
        "    print(runner.run(None, {'pixels': numpy.zeros((3, 8, 8, 1), numpy.uint8)})[0].shape)\n"
    )
    paths = [str(folder / "exports" / "small" / model.file) for model in report.models]

    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)

    assert done.stdout.split("\n")[:-1] == ["(3, 10)"] * len(paths)


def exported(folder: Path, report: Report, id: str) -> Path:
    """Where a model's file lies: the recommended one's is model.onnx."""
    return folder / "exports" / "small" / next(model.file for model in report.models if model.id == id)


def test_a_pruned_model_has_fewer_channels_in_its_file(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    planned = {width.layer: width for stage in report.stages for width in stage.widths}

    def outputs(id: str) -> list[int]:
        graph = onnx.load(exported(folder, report, id)).graph
        sizes = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
        return sorted(sizes[node.input[1]] for node in graph.node if node.op_type == "Conv")

    assert outputs("teacher") == sorted(width.before for width in planned.values())
    assert outputs("prune") == sorted(width.after for width in planned.values())
    assert all(width.after == width.before // 2 for width in planned.values())


def test_nothing_in_the_store_is_a_pickle(ran: tuple[Path, Report, Notes]) -> None:
    folder, _, _ = ran

    suffixes = {path.suffix for path in (folder / "models").rglob("*") if path.is_file()}

    assert suffixes == {".safetensors", ".json", ".onnx"}


def test_a_reloaded_pruned_model_answers_as_its_exported_file(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    planned = {item.name: item for item in Pipeline.from_yaml(folder / "small.yaml").plan(folder / "models")}
    artifact = planned["prune"].artifact
    assert artifact is not None
    model, _ = loaded(artifact)
    images = load_dataset(Digits(image_size=8)).val.images[:16]

    with torch.no_grad():
        wanted = model((images.permute(0, 3, 1, 2).float() - 128) / 64).numpy()

    found = ort.session(exported(folder, report, "prune")).run(None, {"pixels": images.numpy()})[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_pipeline_can_be_built_in_python() -> None:
    stages: list[AnyStage] = [Teacher(model="resnet8"), Prune(pruning_ratio=0.5), Distill(), Qat(), Export()]

    pipeline = Pipeline(name="mine", stages=stages)

    pipeline.check()
    assert [stage.name for stage in pipeline.stages] == ["teacher", "prune", "distill", "qat", "export"]


def test_a_teacher_assistant_is_two_distill_stages() -> None:
    stages = [
        Teacher(model="resnet20"),
        Distill(id="assistant", model="resnet14"),
        Distill(id="student", model="resnet8", teacher="assistant"),
    ]

    references = stages[2].references(stages[:2], "stages[2]")

    assert references == {"teacher": "assistant"}


def test_a_first_stage_without_a_source_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"stages\[0\]\.source: there is no stage before this one"):
        Pipeline(name="mine", stages=[Prune(pruning_ratio=0.5)]).check()


def test_the_plan_shows_the_size_of_the_models_that_are_up_to_date(ran: tuple[Path, Report, Notes]) -> None:
    folder, report, _ = ran
    planned = Pipeline.from_yaml(folder / "small.yaml").plan(folder / "models")
    shown = Console(width=160, file=io.StringIO(), record=True)

    shown.print(render_plan(planned, {}))

    lines = shown.export_text().splitlines()
    macs = {model.id: f"{model.macs:,}" for model in report.models}
    assert all("up to date" in line for line in lines[1:6])
    assert all(macs[name] in lines[1 + i] for i, name in enumerate(["teacher", "prune", "distill"]))


def test_an_export_without_any_model_is_refused_before_anything_runs() -> None:
    for stages in ([{"stage": "export"}], [{"stage": "export"}, {"stage": "export", "id": "again"}]):
        tree = {"name": "empty", "data": {"name": "digits", "image_size": 8}, "stages": stages}

        with pytest.raises(ConfigError, match=r"stages\[0\].stage: export has no model to write"):
            validate(Pipeline, tree, "here").check("here")


@pytest.mark.parametrize(
    ("student", "problem"),
    [
        ("model: resnet18, width_mult: 0.5", "no width multiplier"),
        ("activations: relu6", "no smooth activation"),
        ("model: alexnet", "does not take 8x8 images"),
    ],
)
def test_a_student_that_cannot_be_built_is_refused_before_any_training(
    tmp_path: Path, student: str, problem: str
) -> None:
    text = f"""
        name: refused
        data: {{name: digits, image_size: 8}}
        stages:
          - {{stage: teacher, model: resnet8, epochs: 500}}
          - {{stage: distill, {student}}}
    """

    with pytest.raises(EdgekdError, match=rf"stages\[1\] .*{problem}"):
        Pipeline.from_yaml(write_pipeline(tmp_path, text)).run(tmp_path / "models", tmp_path / "exports")

    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(
    ("model", "stage", "problem"),
    [
        ("mobilenet_v3_small", "{stage: prune, pruning_ratio: 0.5, importance: bn}", "importance bn finds nothing"),
        ("tests.tiny:untraceable_network", "{stage: qat}", "cannot be captured"),
        ("tests.tiny:untraceable_network", "{stage: export}", "cannot be captured .*no branch depend"),
        ("tests.tiny:unwritable_network", "{stage: export}", r"cannot be written as ONNX .*linalg_inv"),
        ("resnet8", "{stage: prune, macs_ratio: 0.1}", r"macs_ratio: 0\.1 .* 0\.204 is the least"),
        ("resnet8", "{stage: prune, pruning_ratio: 0.02}", r"nothing is removed .* 0\.13 is the least"),
    ],
)
def test_a_network_that_a_later_stage_refuses_is_refused_before_any_training(
    tmp_path: Path, model: str, stage: str, problem: str
) -> None:
    text = f"""
        name: refused
        data: {{name: digits, image_size: 8}}
        stages:
          - {{stage: teacher, model: "{model}", epochs: 500}}
          - {stage}
    """

    with pytest.raises(EdgekdError, match=rf"stages\[1\] .*{problem}"):
        Pipeline.from_yaml(write_pipeline(tmp_path, text)).run(tmp_path / "models", tmp_path / "exports")

    assert not list((tmp_path / "models").iterdir())


def test_a_network_that_earlier_stages_prune_is_checked_at_the_widths_that_they_leave(tmp_path: Path) -> None:
    """0.4 of the MACs can be reached from the whole network, not from what half of the channels are."""
    text = """
        name: refused
        data: {name: digits, image_size: 8}
        stages:
          - {stage: teacher, model: resnet8, epochs: 500}
          - {stage: prune, pruning_ratio: 0.5}
          - {stage: distill, epochs: 500}
          - {stage: prune, id: further, macs_ratio: 0.4}
    """

    with pytest.raises(EdgekdError, match=r"stages\[3\] \(further\): macs_ratio: 0\.4 .* 0\.581 is the least"):
        Pipeline.from_yaml(write_pipeline(tmp_path, text)).run(tmp_path / "models", tmp_path / "exports")

    assert not list((tmp_path / "models").iterdir())
