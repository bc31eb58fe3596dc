"""The arms of an ablation: the same pipeline without one of its choices."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from edgekd.config import validate, with_overrides
from edgekd.errors import ConfigError
from edgekd.pipeline.ablation.chain import Chain, Tree, tree_of
from edgekd.pipeline.pipeline import Pipeline
from edgekd.stages import STAGES, Distill, Prune, Ptq, Qat, Stage, Teacher
from edgekd.stages.base import AUTO, KEEP_UNREAD, NO_TEACHER

EARLY_STOP = 0.6
"""Share of the schedule after which the teacher's term stops where it does not stop by the file (Cho & Hariharan 2019
stop at about a half to two thirds)."""


@dataclass(frozen=True)
class Arm:
    """One way to run the pipeline.

    Args:
        sentence: what is other than in the file.
        chain: what is run; None where it could not be made.
        error: why not; empty where it could.
        own: is it the user's?
    """

    name: str
    sentence: str
    chain: Chain | None
    error: str = ""
    own: bool = False


@dataclass(frozen=True)
class Choice:
    """A choice that an ablation takes back.

    Args:
        needs: what a file must have for it to apply, as it follows "there is no".
        change: the stages of the arm, as a file would say them; None where it does not apply.
    """

    name: str
    sentence: str
    needs: str
    change: Callable[[Chain], list[Tree] | None]


def arms_of(base: Chain, named: Sequence[str] | None) -> list[Arm]:
    """The arms that apply to a chain.

    Args:
        base: the chain of the file.
        named: only these, which must apply; None: all that do.

    Raises:
        ConfigError: an unknown name, or an arm that does not apply.
    """
    known = {choice.name: choice for choice in CHOICES}
    for name in named or ():
        if name not in known:
            raise ConfigError(f"--arms {name}", "there is no such arm", f"known: {', '.join(known)}")
        if known[name].change(base) is None:
            raise ConfigError(f"--arms {name}", f"does not apply: there is no {known[name].needs}", "leave it out")
    wanted = [choice for choice in CHOICES if named is None or choice.name in named]
    return [arm for choice in wanted if (arm := _arm(choice, base)) is not None]


def own_arm(text: str, tree: Mapping[str, Any], base: Chain) -> Arm:
    """An arm of the user's: ``distill.temperature=2``, several settings separated by blanks.

    Args:
        text: a setting begins with a stage's id, or with ``data`` or ``target``.
        tree: the pipeline file.
        base: its chain.

    Raises:
        ConfigError: what it sets does not exist, or makes no valid pipeline with the same file to compare.
    """
    where, ids = f"--arm {text!r}", [_id(stage) for stage in tree["stages"]]
    overrides, set_ = [], dict[str, set[str]]()
    for setting in _settings(text, where):
        first, _, rest = setting.partition(".")
        if first not in (*ids, "data", "target") or not rest:
            known = ", ".join([*ids, "data", "target"])
            raise ConfigError(where, f"{setting!r} does not begin with a stage, data or target", f"known: {known}")
        overrides.append(setting if first not in ids else f"stages.{setting}")
        set_.setdefault(first, set()).add(rest.partition("=")[0].partition(".")[0])
    changed = _overridden(tree, overrides, where)
    stages = [_readable(stage, set_[_id(stage)]) if _id(stage) in set_ else stage for stage in changed["stages"]]
    pipeline = validate(Pipeline, {**changed, "stages": stages}, where)
    pipeline.check(where)
    return Arm(text, "settings of your own", base.of(pipeline, where), own=True)


def _settings(text: str, where: str) -> list[str]:
    try:
        found = shlex.split(text)
    except ValueError as error:
        raise ConfigError(where, f"cannot be read ({str(error).lower()})", "close the quotes") from None
    if not found:
        raise ConfigError(where, "sets nothing", "write e.g. --arm distill.temperature=2")
    return found


def _overridden(tree: Mapping[str, Any], overrides: Sequence[str], where: str) -> Tree:
    try:
        return with_overrides(dict(tree), overrides)
    except ConfigError as error:
        raise ConfigError(where, error.problem, error.remedy) from None


def _id(tree: Tree) -> str:
    return str(tree.get("id") or tree.get("stage"))


def _arm(choice: Choice, base: Chain) -> Arm | None:
    trees = choice.change(base)
    if trees is None:
        return None
    try:
        return Arm(choice.name, choice.sentence, base.with_stages(trees, choice.name))
    except ConfigError as error:
        return Arm(choice.name, choice.sentence, None, str(error))


def _changed(base: Chain, changes: Mapping[str, Tree]) -> list[Tree] | None:
    """The stages with some settings changed, and without those that are not read then; None where nothing changes."""
    return [_with(stage, changes.get(stage.name, {})) for stage in base.stages] if changes else None


def _with(stage: Stage, change: Tree) -> Tree:
    return _readable({**tree_of(stage), **change}, set(change)) if change else tree_of(stage)


def _readable(tree: Tree, kept: set[str]) -> Tree:
    """A stage without what its other settings leave unread, but for some keys, which are refused then."""
    kind = next((kind for kind in STAGES if kind.model_fields["stage"].default == tree.get("stage")), None)
    if kind is None:
        return tree
    try:
        unread = kind.model_validate(tree, context=KEEP_UNREAD).unread
    except ValidationError:
        # Told in the user's words when the whole pipeline is validated.
        return tree
    return {key: value for key, value in tree.items() if key in kept or key not in unread}


def _labels(base: Chain) -> list[Tree] | None:
    return _changed(base, {stage.name: _untaught(stage) for stage in base.taught})


def _untaught(stage: Stage) -> Tree:
    return {"teacher": NO_TEACHER} if isinstance(stage, Qat) else {"beta": 0}


def _qat_labels(base: Chain) -> list[Tree] | None:
    return _changed(base, {stage.name: _untaught(stage) for stage in base.taught if isinstance(stage, Qat)})


def _stops(base: Chain) -> list[Distill | Qat]:
    return [stage for stage in base.taught if isinstance(stage, Distill | Qat) and stage.stop_teacher_at < 1]


def _teacher_to_end(base: Chain) -> list[Tree] | None:
    return _changed(base, {stage.name: {"stop_teacher_at": 1.0} for stage in _stops(base)})


def _early_stop(base: Chain) -> list[Tree] | None:
    if _stops(base):
        return None
    taught = [stage for stage in base.taught if isinstance(stage, Distill)]
    return _changed(base, {stage.name: {"stop_teacher_at": EARLY_STOP} for stage in taught})


def _student(base: Chain) -> Distill | None:
    """The distil stage that trains what the last pruning left."""
    prunings = [index for index, stage in enumerate(base.path) if isinstance(stage, Prune)]
    after = base.path[prunings[-1] :] if prunings else []
    return next((stage for stage in after if isinstance(stage, Distill)), None)


def _scratch(base: Chain) -> list[Tree] | None:
    student = _student(base)
    return None if student is None or student.fresh else _changed(base, {student.name: {"fresh": True}})


def _by_width(base: Chain) -> list[Tree] | None:
    student, built = _student(base), base.path[0]
    model, width = getattr(built, "model", None), getattr(built, "width_mult", None) or 1.0
    if student is None or model is None:
        return None
    kept = math.prod(_width_kept(stage) for stage in base.path if isinstance(stage, Prune))
    # Rounded for the reader; a channel more or less is within what the architecture rounds by.
    stem = {"stem": built.stem} if isinstance(built, Teacher | Distill) and built.stem != AUTO else {}
    change = {"model": model, "width_mult": round(width * kept, 4), **stem}
    # It is built, not read: the stages that pruned it are left out as no longer needed.
    given = {key: value for key, value in tree_of(student).items() if key != "source"}
    fresh = _readable({**given, **change}, set(change))
    return [fresh if stage is student else tree_of(stage) for stage in base.stages]


def _width_kept(stage: Prune) -> float:
    """Share of the channels; of MACs about the square remains."""
    if stage.macs_ratio is not None:
        return math.sqrt(stage.macs_ratio)
    assert stage.pruning_ratio is not None
    return 1 - stage.pruning_ratio


def _ptq(base: Chain) -> list[Tree] | None:
    last = base.path[-1]
    if not isinstance(last, Qat):
        return None
    given = {key: value for key, value in tree_of(last).items() if key in Ptq.model_fields}
    calibrated = {**given, "stage": "ptq", "id": last.name}
    return [calibrated if stage is last else tree_of(stage) for stage in base.stages]


CHOICES = (
    Choice("labels", "no teacher: the labels alone", "stage that a teacher teaches", _labels),
    Choice("scratch", "the pruned widths with fresh weights", "distil stage behind a pruning", _scratch),
    Choice("teacher-to-end", "no early stop of the teacher's term", "early stop", _teacher_to_end),
    Choice(
        "early-stop",
        f"the teacher's term stops at {EARLY_STOP:g} of the schedule, the labels alone after it",
        "distil stage that its teacher teaches to the end",
        _early_stop,
    ),
    Choice(
        "by-width",
        "no pruning: the teacher's architecture, built as narrow and fresh",
        "distil stage behind a pruning of a network that is built by name",
        _by_width,
    ),
    Choice(
        "qat-labels", "quantization-aware training without a teacher", "qat stage that a teacher teaches", _qat_labels
    ),
    Choice("ptq", "calibration alone, no quantization-aware training", "qat stage at the end", _ptq),
)
"""Every arm that edgekd knows; a new one is a function from the file's chain to other stages, and a line here."""
