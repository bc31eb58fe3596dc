"""The teacher: weights that are given, a network of the user's own."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from edgekd.cli.terminal import render_plan
from edgekd.config import validate
from edgekd.config.progress import Progress
from edgekd.errors import ConfigError, ModelError
from edgekd.pipeline import Pipeline
from edgekd.stages import Teacher
from edgekd.store.artifacts import digest_of
from edgekd.zoo import ModelSpec, build
from edgekd.zoo.weights import EDGEKD_PIXELS, IMAGENET_PIXELS
from tests.made import loaded, said

SPEC = ModelSpec(name="resnet8", num_classes=10, in_channels=1, image_size=8)


class Notes(Progress):
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def weights_at(path: Path, seed: int = 0, spec: ModelSpec = SPEC) -> Path:
    """The state of a network, saved as people do."""
    torch.manual_seed(seed)
    torch.save(build(spec).state_dict(), path)
    return path


def pipeline(**teacher: Any) -> Pipeline:
    tree = {
        "name": "given",
        "data": {"name": "digits", "image_size": 8},
        "stages": [{"stage": "teacher", "model": "resnet8", **teacher}],
    }
    found = validate(Pipeline, tree, "here")
    found.check("here")
    return found


def test_no_epochs_only_load_and_evaluate(tmp_path: Path) -> None:
    path = weights_at(tmp_path / "w.pt")
    one, notes = pipeline(weights=str(path), normalization="edgekd", epochs=0), Notes()

    one.run(tmp_path / "models", tmp_path / "exports", progress=notes)

    artifact = one.plan(tmp_path / "models")[0].artifact
    assert artifact is not None
    model, _ = loaded(artifact)
    given = torch.load(path, weights_only=True)
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items())
    accuracy = said(artifact).accuracy
    assert f"with the given weights: {accuracy:.4f} on val" in notes.said


def test_a_folded_normalisation_survives_the_store(tmp_path: Path) -> None:
    path = weights_at(tmp_path / "w.pt")
    pixels = {"mean": [0.4], "std": [0.2]}
    one = pipeline(weights=str(path), normalization=pixels, epochs=0)

    one.run(tmp_path / "models", tmp_path / "exports")

    artifact = one.plan(tmp_path / "models")[0].artifact
    assert artifact is not None
    model, spec = loaded(artifact)
    assert spec.stem_bias
    weight = torch.load(path, weights_only=True)["conv1.weight"]
    torch.testing.assert_close(model.get_parameter("conv1.bias"), weight.sum((1, 2, 3)) * (128 / 255 - 0.4) / 0.2)


def test_fine_tuning_never_ends_below_the_given_weights(tmp_path: Path) -> None:
    trained = pipeline(epochs=2, lr=0.05)
    trained.run(tmp_path / "models", tmp_path / "exports")
    artifact = trained.plan(tmp_path / "models")[0].artifact
    assert artifact is not None
    given = artifact.folder / "weights.safetensors"

    tuned = pipeline(weights=str(given), normalization="edgekd", epochs=1, lr=10.0)
    tuned.run(tmp_path / "models", tmp_path / "exports")

    result = tuned.plan(tmp_path / "models")[0].artifact
    assert result is not None
    assert (said(result).accuracy or 0) >= (said(artifact).accuracy or 1)


def test_other_weights_in_the_same_file_are_another_digest(tmp_path: Path) -> None:
    path = weights_at(tmp_path / "w.pt", seed=0)
    stage = Teacher(model="resnet8", weights=str(path), normalization="edgekd")
    before = digest_of(stage.deciding_settings())

    weights_at(path, seed=1)

    assert digest_of(stage.deciding_settings()) != before


def test_a_new_classifier_is_said(tmp_path: Path) -> None:
    path = weights_at(tmp_path / "w.pt", spec=SPEC.model_copy(update={"num_classes": 4}))
    notes = Notes()

    pipeline(weights=str(path), normalization="edgekd", epochs=0).run(tmp_path / "m", tmp_path / "e", progress=notes)

    assert any("the last layer (fc) is new" in text for text in notes.said)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"epochs": 0}, r"stages\[0\].epochs: is 0, so that nothing is learned"),
        ({"weights": "w.pt"}, r"stages\[0\].normalization: is missing; say which pixels"),
        ({"normalization": "imagenet"}, r"stages\[0\].normalization: goes with weights from a file"),
        ({"weights": "imagenet"}, "there are no ImageNet weights of resnet8"),
        ({"weights": "nowhere.pt", "normalization": "edgekd"}, "there is no file 'nowhere.pt'"),
        ({"weights": "w.pt", "normalization": {"mean": [0.5], "std": [1, 2]}}, "mean"),
        ({"weights": "w.pt", "normalization": {"mean": [0.5], "std": [0.0]}}, "greater than 0"),
        (
            {"weights": "w.pt", "normalization": {"mean": [0.5], "std": [1.0], "means": 1}},
            r"stages\[0\].normalization.means: unknown key",
        ),
        ({"weights": "w.pt", "normalization": 5}, r"stages\[0\].normalization: must be a mapping"),
        ({"weights": "w.pt", "normalization": "imagnet"}, "imagenet"),
        ({"model": "no.such:thing"}, "cannot be imported"),
        ({"model": "tests.tiny:CLASSES"}, "is no function"),
        ({"model": "timm/no_such_net"}, "timm has no model"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_runs(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        pipeline(**settings)


@pytest.fixture
def secret() -> Iterator[Path]:
    """Weights that only root may read, in a folder that anybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = weights_at(Path(folder) / "secret.pt")
        path.chmod(0)
        yield path


def test_weights_that_may_not_be_read_are_told_in_one_line(secret: Path, unprivileged: None) -> None:
    stage = pipeline(weights=str(secret), normalization="edgekd").stages[0]

    with pytest.raises(ModelError, match=r"secret\.pt: cannot be read \(permission denied\)"):
        stage.deciding_settings()


def test_a_network_of_ones_own_is_trained_and_reloaded(tmp_path: Path) -> None:
    one = pipeline(model="tests.tiny:own_network", epochs=1)

    one.run(tmp_path / "models", tmp_path / "exports")

    artifact = one.plan(tmp_path / "models")[0].artifact
    assert artifact is not None
    assert loaded(artifact)[1].name == "tests.tiny:own_network"


def test_a_model_folder_cannot_name_a_function_that_no_pipeline_names() -> None:
    with pytest.raises(ModelError, match="is named by no pipeline file"):
        build(SPEC.model_copy(update={"name": "os:getcwd"}))


@pytest.mark.parametrize(("pixels", "bias"), [(EDGEKD_PIXELS, False), (IMAGENET_PIXELS, True)])
def test_a_bias_is_there_only_where_the_fold_needs_one(pixels: Any, bias: bool, tmp_path: Path) -> None:
    path = weights_at(tmp_path / "w.pt")
    settings = {"mean": list(pixels.mean[:1]), "std": list(pixels.std[:1])}
    one = pipeline(weights=str(path), normalization=settings, epochs=0)

    one.run(tmp_path / "models", tmp_path / "exports")

    artifact = one.plan(tmp_path / "models")[0].artifact
    assert artifact is not None
    assert loaded(artifact)[1].stem_bias is bias


@pytest.mark.parametrize(
    ("precision", "has_bf16", "told"), [("bf16", False, 1), ("bf16", True, 0), ("float32", False, 0)]
)
def test_training_in_bf16_without_the_arithmetic_is_told_when_it_starts(
    tmp_path: Path, precision: str, has_bf16: bool, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.stages.base.multiplies_bf16", lambda: has_bf16)
    one, notes = pipeline(model="tests.tiny:own_network", precision=precision, epochs=1, batch_size=512), Notes()

    one.run(tmp_path / "models", tmp_path / "exports", progress=notes)

    assert [said for said in notes.said if "bf16" in said] == told * [
        "teacher: this CPU has no bf16 arithmetic: precision: bf16 trains many times slower here than "
        "precision: float32"
    ]


@pytest.mark.parametrize("model", ["resnet8", "tests.tiny:own_network"])
def test_a_stem_is_refused_where_the_network_has_one_alone(model: str) -> None:
    with pytest.raises(ConfigError, match=rf"stages\[0\]\.stem: is not read, since {model} has one stem alone"):
        pipeline(model=model, epochs=1, stem="small").check()


def test_the_stem_decides_the_digest_where_it_is_said_and_the_plan_tells_it(tmp_path: Path) -> None:
    plans = [pipeline(model="mobilenet_v2", epochs=1, **stem).plan(tmp_path) for stem in ({}, {"stem": "standard"})]
    shown = Console(width=200, file=io.StringIO(), record=True)

    shown.print(render_plan(plans[0], {}))

    assert plans[0][0].digest != plans[1][0].digest
    assert "stem" not in plans[0][0].facts["settings"]
    assert "small (auto: images up to 64 pixels)" in shown.export_text()
