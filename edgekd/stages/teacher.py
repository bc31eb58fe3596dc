"""The teacher: a network trained on the labels, fine-tuned from given weights, or only loaded."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from torch import Tensor, nn

from edgekd.config import PathText, SettingError, Settings
from edgekd.data import Dataset
from edgekd.errors import ConfigError, ModelError
from edgekd.ondevice.contents import sha256_of
from edgekd.stages.base import (
    AUTO,
    BatchSize,
    Context,
    LearningRate,
    Precision,
    Stage,
    WeightDecay,
)
from edgekd.stages.manifests import FloatModel, StageManifest
from edgekd.stages.networks import StemChoice, check_stem, fresh_spec, model_errors, network_facts
from edgekd.stages.teaching import labels_alone, schedule
from edgekd.store.artifacts import Artifact
from edgekd.store.disk import reading
from edgekd.training.evaluation import Evaluation, evaluate, in_precision
from edgekd.training.fit import fit
from edgekd.training.history import copy_state
from edgekd.training.probe import PROBE_VERSION, fit_head
from edgekd.zoo import ModelSpec, build, check_name, ends_of, example_images
from edgekd.zoo.weights import (
    EDGEKD_PIXELS,
    IMAGENET,
    IMAGENET_PIXELS,
    Normalization,
    check_imagenet,
    give_weights,
    imagenet_version,
    imagenet_weights,
    needs_stem_bias,
    read_weights,
)

LR_ON_GIVEN_WEIGHTS = 0.005


class MeanStd(Settings):
    """What weights expect of their images: ``(pixel / 255 - mean) / std``, one number for each channel."""

    mean: list[float] = Field(min_length=1, max_length=4, description="mean of each channel, 0..1")
    std: list[Annotated[float, Field(gt=0)]] = Field(
        min_length=1, max_length=4, description="standard deviation of each channel, 0..1"
    )

    @model_validator(mode="after")
    def _alike(self) -> "MeanStd":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std {len(self.std)}")
        return self


Pixels = Annotated[
    Annotated[Literal["imagenet", "edgekd"], Tag("(word)")] | Annotated[MeanStd, Tag("(numbers)")],
    Discriminator(lambda value: "(word)" if isinstance(value, str) else "(numbers)"),
]


KeepEpochs = Annotated[
    list[Annotated[int, Field(ge=1)]] | None,
    Field(
        min_length=1, description="epochs whose weights are kept beside the best one's, for teacher_epoch in distill"
    ),
]


class Teacher(Stage):
    """Train a network with cross-entropy and keep the epoch that is best on val; or begin with given weights."""

    leaves: ClassVar[type[StageManifest]] = FloatModel
    trains: ClassVar[bool] = True
    LATER: ClassVar[tuple[str, ...]] = ("stem",)

    stage: Literal["teacher"] = "teacher"
    model: str = Field(
        description="architecture: any torchvision classifier, timm/NAME, package.module:name, resnet8, resnet14, ..., "
        "ds_cnn, mobilenet_v1, dense_encoder"
    )
    width_mult: float = Field(
        1.0, gt=0, le=8, description="multiplies every layer's channels, where the architecture has it"
    )
    stem: StemChoice = AUTO
    weights: Annotated[PathText, Field(min_length=1)] | None = Field(
        None, description="a .pt or .safetensors file, or imagenet (downloaded by torchvision or timm)"
    )
    normalization: Pixels | None = Field(
        None,
        description="pixels that the weights of a file expect: imagenet, edgekd ((pixel - 128) / 64), or mean, std",
    )
    epochs: int = Field(30, ge=0, le=10_000, description="passes over the training split; 0 only loads the weights")
    keep_epochs: KeepEpochs = None
    lr: LearningRate = Field(0.1, description="peak learning rate, after the warm-up; 0.005 on given weights")
    batch_size: BatchSize = 64
    weight_decay: WeightDecay = 5e-4
    precision: Precision = "float32"
    all_labels: bool = Field(
        False, description="train on the labels too that data.labelled takes away: for experiments with few labels"
    )

    @model_validator(mode="before")
    @classmethod
    def _given_weights_move_less(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("weights") is not None and given.get("epochs") != 0:
            return {"lr": LR_ON_GIVEN_WEIGHTS, **given}
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> "Teacher":
        if self.epochs == 0 and self.weights is None:
            raise SettingError("epochs", "is 0, so that nothing is learned; give weights, or raise it")
        if self.weights not in (None, IMAGENET) and self.normalization is None:
            raise SettingError(
                "normalization", "is missing; say which pixels the weights expect: imagenet, edgekd, or {mean, std}"
            )
        if self.weights in (None, IMAGENET) and self.normalization is not None:
            raise SettingError("normalization", "goes with weights from a file; leave it out")
        for key in ("lr", "batch_size", "weight_decay", "precision", "keep_epochs"):
            if self.epochs == 0 and key in self.model_fields_set:
                raise SettingError(key, "is for training, and epochs is 0; leave it out, or raise epochs")
        kept = self.keep_epochs or []
        if max(kept, default=0) > self.epochs or len(set(kept)) < len(kept):
            raise SettingError("keep_epochs", f"must be epochs from 1 to {self.epochs}, each once, found {kept}")
        return self

    def check(self, where: str) -> None:
        with model_errors(where):
            check_name(self.model)
            check_stem(self.model, self.stem)
            if self.weights == IMAGENET:
                check_imagenet(self.model)
        if self.weights not in (None, IMAGENET) and not Path(str(self.weights)).expanduser().is_file():
            raise ConfigError(f"{where}.weights", f"there is no file {self.weights!r}", "check the path")

    def network(self, data: Dataset, source: ModelSpec | None = None) -> ModelSpec:
        return fresh_spec(self.model, data, self.width_mult, self.stem)

    def sees(self, data: Dataset) -> Dataset:
        return data.all_labels if self.all_labels and data.all_labels is not None else data

    def check_data(self, data: Dataset, where: str) -> None:
        if self.all_labels and data.all_labels is None:
            raise ConfigError(f"{where}.all_labels", "is not read, since data.labelled takes no label", "leave it out")
        if self.epochs and not len(self.sees(data).train):
            problem = "needs labels, and no training image has one"
            raise ConfigError(f"{where}.epochs", problem, "give weights and epochs: 0, or labels")

    def deciding_settings(self) -> dict[str, Any]:
        settings = {**super().deciding_settings(), **network_facts(self.model)}
        # The fingerprint of what it sees says so.
        del settings["all_labels"]
        if self.weights == IMAGENET:
            settings["weights"] = imagenet_version(self.model)
        elif self.weights is not None:
            settings["weights"] = _sha256(Path(self.weights).expanduser())
        if self.weights is not None and self.epochs:
            # Its last layer is fitted first, which earlier versions did not.
            settings["probe"] = PROBE_VERSION
        return settings

    def run(self, ctx: Context) -> Artifact:
        model, spec = self._network(ctx)
        if self.epochs:
            ctx.warn_of_precision(self.precision)
        start = self._start(model, spec, ctx) if self.weights else None
        history = fit(
            model,
            labels_alone(in_precision(model, self.precision)),
            ctx.data,
            schedule(self),
            seed=ctx.seed,
            progress=ctx.progress,
            label=ctx.name,
            start=start,
            checkpoints=ctx.checkpoints,
            processes=ctx.processes,
            keep=self.keep_epochs or (),
        )

        def beside(folder: Path) -> None:
            for epoch, state in history.kept.items():
                FloatModel.write_epoch(epoch, state, folder)

        return ctx.save_model(model, spec, history, beside, kept_epochs=sorted(history.kept))

    def _start(self, model: nn.Module, spec: ModelSpec, ctx: Context) -> Evaluation:
        """The given weights' result on val, with the last layer fitted to the images first where it will be trained."""
        start = evaluate(model.eval(), ctx.data.val)
        ctx.progress.note(f"with the given weights: {start.accuracy:.4f} on val")
        heads = ends_of(model, example_images(spec)).heads
        if not self.epochs or len(heads) != 1:
            return start
        given = copy_state(model)
        fitted = fit_head(model, heads[0], ctx.data, ctx.progress)
        if fitted is None or not fitted.better_than(start, ctx.data.balance):
            model.load_state_dict(given)
            return start
        ctx.progress.note(f"with its last layer ({heads[0]}) fitted to their features: {fitted.accuracy:.4f} on val")
        return fitted

    def _network(self, ctx: Context) -> tuple[nn.Module, ModelSpec]:
        spec = self.network(ctx.data)
        if self.weights is None:
            return build(spec), spec
        given, normalization = self._given()
        spec = spec.model_copy(update={"stem_bias": needs_stem_bias(normalization)})
        model = build(spec)
        for note in give_weights(model, spec, given, normalization):
            ctx.progress.note(note)
        return model, spec

    def _given(self) -> tuple[dict[str, Tensor], Normalization]:
        if self.weights == IMAGENET:
            return imagenet_weights(self.model)
        given = read_weights(Path(str(self.weights)).expanduser())
        if isinstance(self.normalization, MeanStd):
            return given, Normalization(tuple(self.normalization.mean), tuple(self.normalization.std))
        return given, IMAGENET_PIXELS if self.normalization == "imagenet" else EDGEKD_PIXELS


def _sha256(path: Path) -> str:
    with reading(path, ModelError):
        return sha256_of(path)
