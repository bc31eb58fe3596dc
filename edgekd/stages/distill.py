"""Distillation: the smaller network learns from the labels and from the big one."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from edgekd.config import SettingError
from edgekd.data import Dataset
from edgekd.errors import ConfigError
from edgekd.stages.base import (
    AUTO,
    Alpha,
    BatchSize,
    Beta,
    Context,
    Epochs,
    LabelledShare,
    LabelsLr,
    LearningRate,
    Precision,
    Stage,
    StageId,
    StopTeacherAt,
    Views,
    WeightDecay,
    check_mixes,
    source_or_before,
)
from edgekd.stages.features import Compared, check_cut_from, compared, stayed_of
from edgekd.stages.manifests import FloatModel, Search, StageManifest, manifest_of
from edgekd.stages.networks import StemChoice, check_stem, fresh_spec, model_errors, network_facts
from edgekd.stages.teachers import (
    TeacherEpoch,
    TeacherIds,
    as_one,
    capacity_gap,
    check_kept,
    epochs_to_try,
    key_of_role,
    load_teachers,
    teacher_roles,
)
from edgekd.stages.teaching import (
    NamedTerm,
    check_views,
    distillation,
    kept_answers,
    labels_alone,
    mix_of,
    share_with_label,
    taught_schedule,
    unread_without_term,
    window_of,
)
from edgekd.stages.trials import TEMPERATURES, Temperature, searched
from edgekd.store.artifacts import Artifact
from edgekd.training.answers import KeptAnswers
from edgekd.training.evaluation import in_precision
from edgekd.training.features import AnyFeatures
from edgekd.training.fit import BatchLoss, fit
from edgekd.training.losses import AnyLoss, Kd, standardized
from edgekd.zoo import ModelSpec, build, check_name, count_params, fresh_of_widths, with_activations

SEARCHED_AT = 4.0
"""The temperature with which a teacher's epoch is searched where both are ``auto``."""
_TERM = (
    "teacher",
    "teacher_epoch",
    "assistants",
    "loss",
    "standardize",
    "mixup",
    "features",
    "temperature",
    "alpha",
    "start_teacher_at",
    "stop_teacher_at",
    "labels_lr",
    "labelled_share",
    "views",
)
"""What is read only where the teacher's term counts."""


class Distill(Stage):
    """Train a student on the labels and on a frozen teacher's softened outputs: alpha * CE + beta * T^2 * KL."""

    VERSION: ClassVar[int] = 2
    reads: ClassVar[Mapping[str, type[StageManifest]]] = {"source": FloatModel, "teacher": FloatModel}
    leaves: ClassVar[type[StageManifest]] = FloatModel
    trains: ClassVar[bool] = True
    LATER: ClassVar[tuple[str, ...]] = ("mixup", "fresh", "labelled_share", "stem")

    stage: Literal["distill"] = "distill"
    source: StageId | None = Field(
        None, description="the stage whose model is the student; the stage before unless given"
    )
    fresh: bool = Field(
        False, description="begin with fresh weights in the widths of source, as if it had been pruned before training"
    )
    teacher: TeacherIds = None
    teacher_epoch: TeacherEpoch = None
    assistants: list[Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        None,
        min_length=1,
        description="shares of the teacher's width, as [0.75, 0.5]: fresh networks of its architecture, each trained "
        "as this stage says in a stage of its own before it and taught by the one before; the last one teaches",
    )
    model: str | None = Field(None, description="a fresh architecture as the student, in place of source")
    width_mult: float | None = Field(
        None, gt=0, le=8, description="multiplies the channels of a fresh student, where the architecture has it"
    )
    stem: StemChoice = AUTO
    activations: Literal["relu", "relu6"] | None = Field(
        None,
        description="in place of HardSwish, SiLU and GELU in the student, which integer kernels like less",
    )
    loss: AnyLoss = Field(Kd(), description="the teacher's term: kd, dkd or dist, or {name: dkd, others_weight: 4}")
    standardize: bool = Field(False, description="standardise both logits first (kd, dkd)")
    mixup: bool = Field(
        False, description="student and teacher see blends of two images, in a proportion drawn anew for each batch"
    )
    features: AnyFeatures | None = Field(
        None,
        description="a term for layers inside, on top: attention, similarity, or channels (of a pruned student and the "
        "teacher it was cut from), or {name: attention, weight: 500}",
    )
    temperature: Temperature = Field(
        4.0,
        description="softens both distributions; auto: 1, 2, 4 or 8, whichever teaches best on val in a quarter of the "
        "epochs each",
    )
    alpha: Alpha = 0.1
    beta: Beta = 0.9
    start_teacher_at: float = Field(
        0.0, ge=0, lt=1, description="share of the schedule after which the teacher's term begins"
    )
    stop_teacher_at: StopTeacherAt = 1.0
    labels_lr: LabelsLr = 0.1
    labelled_share: LabelledShare = 0.25
    views: Views = None
    epochs: Epochs = 30
    lr: LearningRate = 0.1
    batch_size: BatchSize = 64
    weight_decay: WeightDecay = 5e-4
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _makes_sense(self) -> "Distill":
        if self.model is None and self.width_mult is not None:
            raise SettingError("width_mult", "goes with a fresh student; give model, or leave it out")
        if self.model is not None and self.source is not None:
            raise SettingError("source", "names a student, and so does model; leave one out")
        if self.start_teacher_at >= self.stop_teacher_at:
            raise ValueError("start_teacher_at must be below stop_teacher_at")
        if self.standardize and self.loss.name == "dist":
            raise ValueError("standardize goes with kd and dkd: dist is the same for standardised logits")
        return self

    @model_validator(mode="after")
    def _can_be_taught_so(self) -> "Distill":
        for key in ("standardize", "features", "teacher_epoch", "assistants"):
            if isinstance(self.teacher, list) and getattr(self, key):
                raise SettingError(key, "goes with one teacher; name one, or leave it out")
        if self.mixup and self.loss.reads_labels:
            raise SettingError("mixup", f"blends labels, and {self.loss.name} needs one for each image; take loss: kd")
        check_views(self)
        if self.assistants and sorted(set(self.assistants), reverse=True) != self.assistants:
            raise SettingError("assistants", f"must become smaller from one to the next, found {self.assistants}")
        if self.features is not None and self.features.pairs_channels and (self.model is not None or self.assistants):
            who = "an assistant teaches" if self.assistants else "a fresh student has none of them"
            raise SettingError("features", f"pairs the teacher's channels, and {who}; take attention or similarity")
        return self

    @property
    def unread(self) -> dict[str, str]:
        fresh = {"fresh": "a student that model names is fresh"} if self.model else {"stem": "no model is named"}
        return {**fresh, **unread_without_term(_TERM, "" if self.beta else "beta is 0", self.stop_teacher_at)}

    def references(self, earlier: Sequence[Stage], where: str) -> dict[str, str]:
        student = {} if self.model else {"source": source_or_before(self.source, earlier, where)}
        if self.beta == 0:
            return student
        teachers = teacher_roles(self.teacher, earlier, where)
        if not teachers:
            raise ConfigError(
                f"{where}.teacher",
                "distillation needs a teacher, found none",
                "name one, or begin with a teacher stage",
            )
        if self.assistants and teachers["teacher"] in [stage.name for stage in earlier]:
            problem = f"are networks like the teacher's, and {teachers['teacher']} names no architecture"
            raise ConfigError(f"{where}.assistants", problem, "name a teacher stage as teacher")
        if self.features is not None and self.features.pairs_channels:
            check_cut_from(student["source"], teachers["teacher"], earlier, where)
        if self.teacher_epoch is not None:
            check_kept(self.teacher_epoch, teachers["teacher"], earlier, where)
        return {**student, **teachers}

    def key_of(self, role: str) -> str:
        return key_of_role(role)

    def check(self, where: str) -> None:
        if self.model is not None:
            with model_errors(where):
                check_name(self.model)
                check_stem(self.model, self.stem)

    def check_data(self, data: Dataset, where: str) -> None:
        check_mixes(self, data, where, taught=self.beta > 0)

    def network(self, data: Dataset, source: ModelSpec | None) -> ModelSpec | None:
        spec = source if self.model is None else fresh_spec(self.model, data, self.width_mult or 1.0, self.stem)
        if spec is None or self.activations is None:
            return spec
        return spec.model_copy(update={"activations": self.activations})

    def check_inputs(self, specs: Mapping[str, ModelSpec]) -> None:
        teacher, student = specs.get("teacher"), specs.get("source")
        if teacher is not None and self.model is not None:
            fresh = {"name": self.model, "width_mult": self.width_mult or 1.0, "stem": self.stem}
            student = teacher.model_copy(update=fresh)
        if self.features is not None and teacher is not None and student is not None:
            compared(self.features, build(student), build(teacher), student, None, "features")

    def deciding_settings(self) -> dict[str, Any]:
        return {**super().deciding_settings(), **(network_facts(self.model) if self.model else {})}

    def run(self, ctx: Context) -> Artifact:
        ctx.warn_of_precision(self.precision)
        student, spec = self._student(ctx)
        stage, searches = self._settled(student, spec, ctx)
        loss, told = stage._taught(student, spec, ctx) if self.beta else (self.batch_loss(student, None), [])
        for text in told:
            ctx.progress.note(f"{ctx.name}: {text}")
        history = fit(
            student,
            loss,
            ctx.data,
            taught_schedule(self),
            seed=ctx.seed,
            progress=ctx.progress,
            label=ctx.name,
            checkpoints=ctx.checkpoints,
            processes=ctx.processes,
            mix=mix_of(self, ctx.data, taught=self.beta > 0),
        )
        return ctx.save_model(student, spec, history, warnings=told, searches=searches)

    def _settled(self, student: nn.Module, spec: ModelSpec, ctx: Context) -> tuple["Distill", list[Search]]:
        """The stage with a number for each setting that was to be found, and how they were found."""
        stage, searches = self, list[Search]()
        values = {
            "teacher_epoch": epochs_to_try(ctx) if self.teacher_epoch == AUTO else (),
            "temperature": TEMPERATURES,
        }
        for setting in (key for key in values if getattr(self, key) == AUTO):
            loss_with = partial(stage._tried, spec, ctx, setting)
            mix = mix_of(self, ctx.data, taught=True)
            found = searched(ctx, setting, values[setting], student, loss_with, taught_schedule(self), mix)
            stage, searches = stage._with(setting, found.chosen), [*searches, found]
        return stage, searches

    def _with(self, setting: str, value: float) -> "Distill":
        return self.model_copy(update={setting: value})

    def _tried(self, spec: ModelSpec, ctx: Context, setting: str, value: float, trial: nn.Module) -> BatchLoss:
        return self._with(setting, value)._taught(trial, spec, ctx)[0]

    def _taught(self, student: nn.Module, spec: ModelSpec, ctx: Context) -> tuple[BatchLoss, list[str]]:
        """The loss of a student who has teachers, and what a user should know of it."""
        teachers = load_teachers(ctx, spec, None if self.teacher_epoch is None else int(self.teacher_epoch))
        warning = capacity_gap(max(map(count_params, teachers)), count_params(student))
        inside = self._compared(student, teachers[0], spec, ctx)
        told = [text for text in (warning, inside and inside.in_words) if text]
        # Trials of other temperatures ask one teacher the same; of several, the mean depends on the temperature.
        who = f"{self.teacher_epoch or 'best'}" + (f"-at-{self._softening:g}" if len(teachers) > 1 else "")
        labelled, kept = share_with_label(self, ctx.data), kept_answers(self, ctx, spec.num_classes, who)
        return self.batch_loss(student, as_one(teachers, self._softening), inside, labelled, kept), told

    @property
    def _softening(self) -> float:
        # The teacher's epoch is searched before the temperature is.
        return SEARCHED_AT if self.temperature == AUTO else self.temperature

    def batch_loss(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        inside: Compared | None = None,
        labelled: float = 1.0,
        kept: KeptAnswers | None = None,
    ) -> BatchLoss:
        """alpha * CE + beta * the teacher's term + the term of features inside, if any; CE alone without a teacher."""
        asked = in_precision(student, self.precision)
        if teacher is None or self.beta == 0:
            return labels_alone(asked)
        answering = in_precision(teacher, self.precision)
        term = NamedTerm(self.loss.name, self._teacher_term)
        features = inside.watching(student, asked, teacher, answering) if inside else None
        return distillation(
            asked,
            answering,
            term,
            self.alpha,
            self.beta,
            window_of(self),
            mixup=self.mixup,
            features=features,
            labelled=labelled,
            kept=kept,
        )

    def _teacher_term(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        return self.loss(student, teacher, labels, self._softening)

    def _compared(self, student: nn.Module, teacher: nn.Module, spec: ModelSpec, ctx: Context) -> Compared | None:
        if self.features is None:
            return None
        # Only the first process has the store in which the student's ancestors are.
        stayed = ctx.processes.by_first(lambda: stayed_of(ctx)) if self.features.pairs_channels else None
        return compared(self.features, student, teacher, spec, stayed, f"{ctx.where}.features")

    def _student(self, ctx: Context) -> tuple[nn.Module, ModelSpec]:
        if self.model is not None:
            spec = fresh_spec(self.model, ctx.data, self.width_mult or 1.0, self.stem)
            student = build(spec)
        elif self.fresh:
            network = manifest_of(ctx.inputs["source"], FloatModel).model
            student, spec = fresh_of_widths(network.spec, network.widths), network.spec
        else:
            student, spec = ctx.load("source")
        if self.activations is None:
            return student, spec
        return with_activations(student, spec, self.activations)
