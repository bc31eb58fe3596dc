"""What a stage is, and what it is given to run."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, model_serializer, model_validator
from torch import nn

from edgekd.config import SettingError, Settings
from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.data import Dataset
from edgekd.errors import ConfigError
from edgekd.ondevice.machine import multiplies_bf16
from edgekd.stages.manifests import Facts, FloatModel, Network, Size, StageManifest, Training, manifest_of
from edgekd.store.artifacts import Artifact, Store
from edgekd.training.checkpoint import Checkpoints
from edgekd.training.environment import environment
from edgekd.training.evaluation import not_learned
from edgekd.training.history import History
from edgekd.training.parallel import ALONE, Processes
from edgekd.training.placing import to_device
from edgekd.zoo import ModelSpec, count_macs, count_params

Epochs = Annotated[int, Field(ge=1, le=10_000, description="passes over the training split")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="peak learning rate, after the warm-up")]
BatchSize = Annotated[int, Field(ge=2, le=65_536, description="images of one training step")]
Precision = Annotated[
    Literal["float32", "bf16"],
    Field(description="of the training's forward and backward pass; bf16 pays where the CPU multiplies it"),
]
WeightDecay = Annotated[float, Field(ge=0, le=1, description="L2 decay of weights, not of norms and biases")]
Alpha = Annotated[float, Field(ge=0, description="weight of the labels while the teacher's term counts, else it is 1")]
Beta = Annotated[float, Field(ge=0, description="weight of the teacher's term")]
StopTeacherAt = Annotated[
    float, Field(gt=0, le=1, description="share of the schedule after which the labels alone teach, with weight 1")
]
LabelsLr = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="share of lr with which that phase of labels alone begins; falls to zero by a cosine of its own",
    ),
]
Views = Annotated[
    int | None,
    Field(
        ge=1,
        description="epochs that differ: then the same batches come again, augmented as before, and the teacher's "
        "answers are read from the disk, not computed; all differ unless given",
    ),
]
StageId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]

NO_TEACHER = "none"
AUTO: Final = "auto"
KEEP_UNREAD = "keep unread"
"""Context of a validation that accepts settings which have no effect, to find out which they are."""
M = TypeVar("M", bound=StageManifest)


class Stage(Settings, ABC):
    """One step of a pipeline: reads artifacts, leaves one artifact. Its attributes are its settings."""

    reads: ClassVar[Mapping[str, type[StageManifest]]] = {}
    """What it begins with: role, as the file names it -> the kind of artifact that it needs."""
    leaves: ClassVar[type[StageManifest]]
    """The kind of artifact that it makes."""
    reads_target: ClassVar[bool] = False
    """Does the declared target change the result?"""
    VERSION: ClassVar[int] = 1
    """Raised when the same inputs and settings give another result than before: it is in the digest."""
    LATER: ClassVar[tuple[str, ...]] = ()
    """Settings that are not written at their default: digests and reports from before they existed stay the same."""
    trains: ClassVar[bool] = False
    """Is the work shared by all processes of a run? Otherwise the first one does it alone."""

    id: StageId | None = Field(None, description="name for other stages and files; the kind of stage unless given")

    @property
    def kind(self) -> str:
        """The kind of stage, as YAML says it."""
        return str(self.stage)  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        """The id, or the kind where none is given."""
        return self.id or self.kind

    @property
    def unread(self) -> dict[str, str]:
        """Settings that the others leave without effect -> why: refused where given, no part of the digest."""
        return {}

    @model_validator(mode="after")
    def _refuses_what_is_not_read(self, info: ValidationInfo) -> Self:
        for key, why in self.unread.items():
            if key in self.model_fields_set and info.context != KEEP_UNREAD:
                raise SettingError(key, f"is not read, since {why}; leave it out")
        return self

    @model_serializer(mode="wrap")
    def _what_is_read(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if key not in self.unread and self._says(key)}

    def _says(self, key: str) -> bool:
        return key not in self.LATER or getattr(self, key) != type(self).model_fields[key].default

    def references(self, earlier: "Sequence[Stage]", where: str) -> dict[str, str]:
        """The earlier stages whose artifacts this one reads: role -> id; ``where`` names this one in errors."""
        return {}

    def key_of(self, role: str) -> str:
        """The key under which the file names what this stage reads in a role."""
        return role

    def check(self, where: str) -> None:
        """Raise ConfigError where a setting can be known to be wrong before anything runs."""

    def network(self, data: Dataset, source: ModelSpec | None) -> ModelSpec | None:
        """How the network that this stage leaves is built; ``source``: how the one is built that it begins with."""
        return source

    def check_network(self, model: nn.Module, spec: ModelSpec, target: Target) -> nn.Module:
        """Raise EdgekdError where a network, not yet trained, cannot go through this stage.

        Returns:
            A network of the widths that the stage will leave, as far as they can be known.
        """
        return model

    @property
    def knows_widths(self) -> bool:
        """Are the widths that it leaves known before anything is trained?"""
        return True

    def sees(self, data: Dataset) -> Dataset:
        """The dataset as this stage sees it."""
        return data

    def check_data(self, data: Dataset, where: str) -> None:
        """Raise ConfigError where a dataset, as this stage sees it, lacks what the stage reads."""

    def check_inputs(self, specs: Mapping[str, ModelSpec]) -> None:
        """Raise EdgekdError where a network that this stage reads, and that is still to be trained, is of no use to it.

        Args:
            specs: role -> how the network in it is built.
        """

    def deciding_settings(self) -> dict[str, Any]:
        """The settings that decide the result: all but names and what is left open."""
        return self.model_dump(exclude={"id", "source", "teacher", "models"}, exclude_none=True)

    @abstractmethod
    def run(self, ctx: "Context") -> Artifact:
        """Do the work and save its artifact."""


@dataclass(frozen=True)
class Context:
    """What a running stage sees of the world.

    Args:
        where: the stage's dotted place in the file, for errors.
        name: the stage's id.
        digest: the name its artifact will have.
        inputs: artifacts by role.
        facts: what decides the result, and the stage's name and kind.
        started: the monotonic clock when the stage began, seconds.
        processes: those that share the training.
    """

    where: str
    name: str
    digest: str
    inputs: dict[str, Artifact]
    data: Dataset
    target: Target
    seed: int
    store: Store
    progress: Progress
    facts: Facts
    started: float
    processes: Processes = ALONE

    def load(self, role: str, epoch: int | None = None) -> tuple[nn.Module, ModelSpec]:
        """The float model in a role, as it was after an epoch or as it was kept, in eval mode; and how it was built."""
        manifest = manifest_of(self.inputs[role], FloatModel)
        return manifest.load(self.inputs[role], epoch), manifest.model.spec

    @property
    def checkpoints(self) -> Checkpoints:
        """Where this stage's training leaves what it needs to go on."""
        return Checkpoints(self.store.partial(self.digest))

    def warn_of_precision(self, precision: str) -> None:
        """Say it where a training is about to be slow for want of instructions."""
        if precision == "bf16" and self.processes.device.type == "cpu" and not multiplies_bf16():
            self.progress.note(
                f"{self.name}: this CPU has no bf16 arithmetic: precision: bf16 trains many times slower here "
                "than precision: float32"
            )

    def load_teacher(self, spec: ModelSpec, role: str = "teacher", epoch: int | None = None) -> nn.Module:
        """The teacher in a role, frozen, checked to answer the same question as the student; see ``load``."""
        teacher, found = self.load(role, epoch)
        if found.num_classes != spec.num_classes:
            problem = f"the teacher tells {found.num_classes} classes apart, the student {spec.num_classes}"
            raise ConfigError(f"{self.where}.teacher", problem, "name a teacher of the same classes")
        return to_device(frozen(teacher), self.processes.device)

    def save_model(
        self,
        model: nn.Module,
        spec: ModelSpec,
        history: History | None = None,
        beside: Callable[[Path], None] = lambda _: None,
        **more: Any,
    ) -> Artifact:
        """Write a float model's artifact.

        Args:
            model: the network, of ``build(spec)``, perhaps pruned.
            spec: how it was built.
            history: of its training.
            beside: writes further files into the folder.
            more: what else its manifest says.
        """
        size = Size(macs=count_macs(model, spec), params=count_params(model))

        def fill(folder: Path) -> FloatModel:
            FloatModel.write(model, folder)
            beside(folder)
            return self.manifest(FloatModel, history, model=Network.of(model, spec), size=size, **more)

        return self.save(fill)

    def save(self, fill: Callable[[Path], StageManifest]) -> Artifact:
        """Write an artifact: ``fill`` puts its files into a folder and says what they are."""
        manifest: dict[str, Any] = {}
        with self.store.writing(self.digest, manifest) as folder:
            manifest |= fill(folder).model_dump()
        saved = self.store.find(self.digest)
        assert saved is not None
        return saved

    def manifest(self, kind: type[M], history: History | None = None, **more: Any) -> M:
        """What was done up to now, by those too whose training was stopped and went on here.

        Args:
            kind: of manifest.
            history: of the training.
            more: what this kind says besides.
        """
        made_by, earlier = self.processes.record(), 0.0
        told: list[str] = []
        if history is not None:
            made_by, earlier = history.made_by, history.earlier_seconds
            told = not_learned(history.classes, self.data) if history.classes else []
        return kind(
            facts=self.facts,
            environment={**environment(), **made_by},
            seconds=earlier + time.monotonic() - self.started,
            history=Training.of(history) if history else None,
            warnings=[*more.pop("warnings", []), *told],
            **more,
        )


LabelledShare = Annotated[
    float,
    Field(gt=0, lt=1, description="share of a batch that has labels, where there are pictures without"),
]


def check_mixes(stage: Any, data: Dataset, where: str, taught: bool) -> None:
    """Raise ConfigError where a training reads labels that are not there, or splits batches that need no splitting.

    Args:
        stage: with the settings of a teacher's term.
        data: as the stage sees it.
        where: the stage's place.
        taught: does a teacher's term count?
    """
    if "labelled_share" in stage.model_fields_set and data.pictures is None:
        raise ConfigError(f"{where}.labelled_share", "is not read, since every image has a label", "leave it out")
    if len(data.train):
        return
    begins, ends = getattr(stage, "start_teacher_at", 0.0), stage.stop_teacher_at
    if not taught or stage.alpha or begins > 0 or ends < 1:
        key = "beta" if not taught else "alpha" if stage.alpha else "start_teacher_at" if begins else "stop_teacher_at"
        raise ConfigError(
            f"{where}.{key}",
            "reads labels, and no training image has one",
            "let a teacher teach from begin to end with alpha: 0",
        )


def source_or_before(source: str | None, earlier: Sequence[Stage], where: str) -> str:
    """The named stage; unless named, the stage before."""
    if source is not None:
        return source
    if not earlier:
        raise ConfigError(
            f"{where}.source", "there is no stage before this one to read from", "begin with a teacher stage"
        )
    return earlier[-1].name


def frozen(model: nn.Module) -> nn.Module:
    """The model in eval mode, without gradients."""
    return model.eval().requires_grad_(False)
