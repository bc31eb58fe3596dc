"""What comes new touches one place: a stage, a dataset, a loss, a feature term, a criterion and a scheme, each used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import pytest
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from edgekd.config import Settings, by_name, schemes
from edgekd.config.progress import Progress
from edgekd.config.schemes import Scheme
from edgekd.data import AnyData, Augment, Dataset, DataSettings
from edgekd.onnx_export import export_onnx, weight_range
from edgekd.pipeline import Pipeline
from edgekd.pruning.criteria import AnyImportance, Importance
from edgekd.quantization import QuantizedModel
from edgekd.stages import Context, Distill, Export, Prune, Ptq, Stage, Teacher
from edgekd.stages.base import StageId, source_or_before
from edgekd.stages.manifests import FloatModel, StageManifest
from edgekd.store.artifacts import Artifact
from edgekd.training.features import AnyFeatures, Features
from edgekd.training.losses import AnyLoss, Loss
from edgekd.zoo import ModelSpec, random_images
from tests.chain import write_pipeline
from tests.made import loaded, said
from tests.tiny import tiny_convnet, tiny_dataset

SPEC = ModelSpec(name="hand-made", num_classes=3, in_channels=1, image_size=8)
CHAIN = """
    name: added
    data: {name: bands, images: 60}
    target: {isa: x86-avx2}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 1, batch_size: 32}
      - {stage: prune, pruning_ratio: 0.5, importance: {name: last, from_the_end: true}}
      - {stage: distill, epochs: 1, batch_size: 32, loss: {name: l1, power: 2}, features: {name: mean, weight: 2}}
      - {stage: negate}
      - {stage: export, models: [teacher, negate]}
    budget: {accuracy_drop: 1}
"""


class Negate(Stage):
    """A float stage: the same network, which answers the opposite."""

    reads: ClassVar[Mapping[str, type[StageManifest]]] = {"source": FloatModel}
    leaves: ClassVar[type[StageManifest]] = FloatModel

    stage: Literal["negate"] = "negate"
    source: StageId | None = Field(None, description="the stage whose model is turned over")

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        return {"source": source_or_before(self.source, earlier, where)}

    def run(self, ctx: Context) -> Artifact:
        model, spec = ctx.load("source")
        last = list(model.parameters())[-2:]
        with torch.no_grad():
            for parameter in last:
                parameter.neg_()
        return ctx.save_model(model, spec)


class Bands(DataSettings):
    """A dataset: bright bands."""

    name: Literal["bands"] = "bands"
    image_size: int = Field(8, ge=8, le=8, description="pixels a side")
    images: int = Field(48, ge=3, description="of the training split")

    def load(self, augment: Augment, progress: Progress) -> Dataset:
        return tiny_dataset(train=self.images, val=12, test=12)


class L1(Loss):
    """A loss with a parameter."""

    name: Literal["l1"] = "l1"
    power: float = Field(1.0, gt=0, description="of the distance")

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        return ((student - teacher).abs() ** self.power).mean()


class Mean(Features):
    """A feature term."""

    name: Literal["mean"] = "mean"
    weight: float = Field(1.0, gt=0, description="of the term")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student.mean() - teacher.mean()).abs()


class Last(Importance):
    """A criterion with a parameter: the number of the channel."""

    name: Literal["last"] = "last"
    from_the_end: bool = Field(False, description="the first channels matter most")

    def measure(self) -> Any:
        def scores(group: Any) -> Tensor:
            found = torch.arange(1, len(group[0][1]) + 1).float()
            return found.flip(0) if self.from_the_end else found

        return scores


def one_more(union: Any, kind: type[Settings], tag: str, *rest: Any) -> Any:
    """A union of settings with a kind more: what its name in the union's file would do."""
    return Annotated[get_args(union)[0] | kind, Field(discriminator=tag), *rest]


class MoreDistill(Distill):
    loss: one_more(AnyLoss, L1, "name", BeforeValidator(by_name)) = L1()  # type: ignore[valid-type]
    features: one_more(AnyFeatures, Mean, "name", BeforeValidator(by_name)) = Mean()  # type: ignore[valid-type]


class MorePrune(Prune):
    importance: one_more(AnyImportance, Last, "name", BeforeValidator(by_name)) = Last()  # type: ignore[valid-type]


AnyStage = Annotated[Teacher | MorePrune | MoreDistill | Negate | Ptq | Export, Field(discriminator="stage")]


class MorePipeline(Pipeline):
    data: one_more(AnyData, Bands, "name") = Bands()  # type: ignore[valid-type]
    stages: list[AnyStage]  # type: ignore[assignment]


@pytest.mark.slow
def test_a_pipeline_file_names_what_was_added_and_its_parameters_act(tmp_path: Path) -> None:
    pipeline = MorePipeline.from_yaml(write_pipeline(tmp_path, CHAIN))

    report = pipeline.run(tmp_path / "models", tmp_path / "exports")

    assert report is not None
    made = {item.name: item.artifact for item in pipeline.plan(tmp_path / "models") if item.artifact}
    assert report.data.train == 60
    teacher, pruned, taught, negated = (loaded(made[name])[0] for name in ("teacher", "prune", "distill", "negate"))
    assert torch.equal(pruned.get_parameter("0.weight"), teacher.get_parameter("0.weight")[:8])  # the first ones stay
    assert set(said(made["distill"]).history.epochs[0].losses) == {"loss", "ce", "l1", "mean"}  # type: ignore[union-attr]
    images = random_images(SPEC, 4)
    with torch.no_grad():
        assert torch.allclose(negated(images), -taught(images), atol=1e-5)
    assert [model.id for model in report.models] == ["teacher", "negate"]


@pytest.mark.slow
def test_a_scheme_more_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    six = Scheme("int8 in 6 bits", 6)
    model = QuantizedModel(tiny_convnet(), SPEC, six)
    model.calibrate([random_images(SPEC, 4)])
    export_onnx(model.integers(), SPEC, tmp_path / "six.onnx")
    monkeypatch.setattr(schemes, "SCHEMES", (*schemes.SCHEMES, six))
    chain = CHAIN[: CHAIN.index("      - {stage: prune")] + "      - {stage: ptq}\n      - {stage: export}\n"

    report = MorePipeline.from_yaml(write_pipeline(tmp_path, chain)).run(tmp_path / "models", tmp_path / "exports")

    assert weight_range(tmp_path / "six.onnx") == 31
    assert report is not None
    assert report.quantization is not None
    assert [bits.bits for bits in report.quantization.calibrated] == [6, 7, 8]
