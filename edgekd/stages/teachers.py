"""Who teaches a stage: one earlier stage's network or several, who answer as one."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.stages.base import AUTO, NO_TEACHER, Context, Stage, StageId
from edgekd.stages.manifests import FloatModel, manifest_of
from edgekd.stages.teacher import Teacher
from edgekd.training.losses import mean_logits
from edgekd.zoo import ModelSpec

ROLE = "teacher"
CAPACITY_GAP = 20
"""From this ratio of parameters on a user is told."""


def _sensible(given: str | list[str]) -> str | list[str]:
    if isinstance(given, list) and len(set(given)) < len(given):
        raise ValueError("a stage is named twice; name each once")
    if isinstance(given, list) and NO_TEACHER in given:
        raise ValueError("none stands alone; leave it out of the list")
    return given


OneOrSeveral = Annotated[
    Annotated[StageId, Tag("(one)")] | Annotated[list[StageId], Field(min_length=2), Tag("(several)")],
    Discriminator(lambda given: "(several)" if isinstance(given, list) else "(one)"),
    AfterValidator(_sensible),
]
TeacherIds = Annotated[
    OneOrSeveral | None,
    Field(description="the stage whose model teaches, or several: [a, b]; the first teacher unless given"),
]


TeacherEpoch = Annotated[
    Annotated[
        Annotated[int, Field(ge=1), Tag("(number)")] | Annotated[Literal["auto"], Tag("(word)")],
        Discriminator(lambda given: "(word)" if isinstance(given, str) else "(number)"),
    ]
    | None,
    Field(
        description="of its keep_epochs, with which the teacher teaches, or auto: whichever teaches best on val in a "
        "quarter of the epochs each; its best on val unless given"
    ),
]


def teacher_roles(named: str | list[str] | None, earlier: Sequence[Stage], where: str = "") -> dict[str, str]:
    """The stages that teach, by role: those named, else the first teacher stage; empty where there is none.

    Raises:
        ConfigError: two of them leave one network; ``where`` names the stage that is taught.
    """
    if named == NO_TEACHER:
        return {}
    if named is None:
        names = [stage.name for stage in earlier if stage.kind == "teacher"][:1]
    else:
        names = [named] if isinstance(named, str) else named
        _check_different([stage for stage in earlier if stage.name in names], where)
    return {f"{ROLE} {number}" if number > 1 else ROLE: name for number, name in enumerate(names, 1)}


def _check_different(teachers: Sequence[Stage], where: str) -> None:
    """The seed is the pipeline's, so that teacher stages of the same settings train the same network."""
    for index, one in enumerate(teachers):
        for other in teachers[:index]:
            if isinstance(one, Teacher) and one.deciding_settings() == other.deciding_settings():
                found = f"{other.name} and {one.name} are one network: their settings are the same"
                raise ConfigError(f"{where}.teacher", found, "give one of them another lr, width or architecture")


def key_of_role(role: str) -> str:
    """The setting that names what is read in a role."""
    return ROLE if role.startswith(ROLE) else role


def load_teachers(ctx: Context, spec: ModelSpec, epoch: int | None = None) -> list[nn.Module]:
    """Every teacher of a stage, frozen, checked to answer the same question as the student.

    Args:
        ctx: of the stage.
        spec: of the student.
        epoch: after which the teacher's training is taken; None: as the teacher was kept.
    """
    return [ctx.load_teacher(spec, role, epoch) for role in ctx.inputs if key_of_role(role) == ROLE]


def check_kept(epoch: int | str, teacher: str, earlier: Sequence[Stage], where: str) -> None:
    """Raise ConfigError unless the teacher keeps this epoch, or any where the best one is searched."""
    stage = next((stage for stage in earlier if stage.name == teacher), None)
    kept = stage.keep_epochs or [] if isinstance(stage, Teacher) else []
    if stage is None or epoch in kept or (epoch == AUTO and kept):
        return
    found = f"{teacher} keeps {'the epochs ' + ', '.join(map(str, kept)) if kept else 'none but its best epoch'}"
    wanted = "[5, 10]" if epoch == AUTO else f"[{epoch}]"
    raise ConfigError(f"{where}.teacher_epoch", found, f"give it keep_epochs: {wanted}, or leave this out")


def epochs_to_try(ctx: Context) -> list[int]:
    """The epochs that the teacher kept, and its best one."""
    made = manifest_of(ctx.inputs[ROLE], FloatModel)
    best = [made.history.best_epoch] if made.history else []
    return sorted({*made.kept_epochs, *best})


def as_one(teachers: Sequence[nn.Module], temperature: float) -> nn.Module:
    """One teacher as it is; several as one whose softened probabilities are the mean of theirs."""
    return teachers[0] if len(teachers) == 1 else _Together(teachers, temperature)


class _Together(nn.Module):
    def __init__(self, teachers: Sequence[nn.Module], temperature: float) -> None:
        super().__init__()
        self.teachers, self.temperature = nn.ModuleList(teachers), temperature

    def forward(self, images: Tensor) -> Tensor:
        return mean_logits([teacher(images) for teacher in self.teachers], self.temperature)


def capacity_gap(teacher_params: int, student_params: int) -> str | None:
    """What to tell a user whose teacher is so much larger that a student learns less from it; None where it is not.

    Source: Cho & Hariharan (2019); Mirzadeh et al. (2020), who put a teacher assistant between.

    >>> capacity_gap(1_000_000, 250_000) is None
    True
    """
    if teacher_params < CAPACITY_GAP * student_params:
        return None
    return (
        f"the teacher has {teacher_params / student_params:.0f} times the student's parameters, which often teaches "
        "worse: put a teacher assistant between (assistants: [0.5]), take loss: dist, or set stop_teacher_at: 0.6"
    )
