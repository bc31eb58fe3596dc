"""``assistants``: networks between teacher and student in size, each a distil stage of its own.

Source: Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh (2020).
"""

from collections.abc import Iterable, Sequence

from edgekd.stages.base import Stage
from edgekd.stages.distill import Distill
from edgekd.stages.teacher import Teacher
from edgekd.stages.teachers import teacher_roles


def with_assistants(stages: Iterable[Stage]) -> list[Stage]:
    """The stages, with those of the assistants before each stage that asks for some.

    One whose teacher's architecture is not known still asks afterwards, which its check refuses.
    """
    found: list[Stage] = []
    for stage in stages:
        found += _behind_assistants(stage, found) if isinstance(stage, Distill) and stage.assistants else [stage]
    return found


def _behind_assistants(stage: Distill, earlier: Sequence[Stage]) -> list[Stage]:
    name = teacher_roles(stage.teacher, earlier).get("teacher")
    teacher = next((other for other in earlier if other.name == name), None)
    if not isinstance(teacher, Teacher | Distill) or teacher.model is None:
        return [stage]
    assistants: list[Distill] = []
    for number, share in enumerate(stage.assistants or [], 1):
        width = share * (teacher.width_mult or 1.0)
        fresh = {"source": None, "model": teacher.model, "width_mult": width, "stem": teacher.stem}
        named = {"id": f"{stage.name}-assistant{number}", **_taught_by(assistants, teacher, stage)}
        like_teacher = {"activations": teacher.activations if isinstance(teacher, Distill) else None}
        assistants.append(stage.model_copy(update={**fresh, **named, **like_teacher}))
    # The stage before the student is no longer what its file says.
    source = stage.source or (None if stage.model or not earlier else earlier[-1].name)
    return [*assistants, stage.model_copy(update={"source": source, **_taught_by(assistants, teacher, stage)})]


def _taught_by(before: Sequence[Distill], teacher: Stage, stage: Distill) -> dict[str, object]:
    """Settings of who teaches: the assistant before; the first one is taught by the teacher itself."""
    teaches, epoch = (before[-1].name, None) if before else (teacher.name, stage.teacher_epoch)
    return {"teacher": teaches, "teacher_epoch": epoch, "assistants": None}
