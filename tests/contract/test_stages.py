"""One contract for every stage."""

import importlib
import pkgutil
from typing import Any, get_args

import pytest

from edgekd import Pipeline, stages
from edgekd.config import validate
from edgekd.errors import ConfigError
from edgekd.stages import STAGES, Stage, kinds_that_leave
from edgekd.stages.manifests import AnyManifest
from edgekd.store.artifacts import digest_of

LEAST: dict[str, dict[str, Any]] = {"teacher": {"model": "resnet8"}, "prune": {"pruning_ratio": 0.5}}
KINDS_OF_MANIFESTS = get_args(get_args(AnyManifest)[0])


def make(kind: type[Stage], **settings: Any) -> Stage:
    name = kind.model_fields["stage"].default
    return validate(kind, {"stage": name, **LEAST.get(name, {}), **settings}, "here")


def test_every_stage_that_has_a_file_is_one_of_those_a_pipeline_may_name() -> None:
    modules = [
        importlib.import_module(f"edgekd.stages.{found.name}") for found in pkgutil.iter_modules(stages.__path__)
    ]
    found = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}

    assert {kind for kind in found if issubclass(kind, Stage) and kind is not Stage} == set(STAGES)


@pytest.mark.parametrize("kind", STAGES)
def test_what_it_reads_some_stage_leaves_and_what_it_leaves_can_be_read(kind: type[Stage]) -> None:
    assert all(kinds_that_leave(wanted) for wanted in kind.reads.values())
    assert kind.leaves in KINDS_OF_MANIFESTS
    assert kind.leaves.noun


@pytest.mark.parametrize("kind", STAGES)
def test_a_stage_survives_being_written_and_read(kind: type[Stage]) -> None:
    stage = make(kind, id="mine")

    assert validate(kind, stage.model_dump(), "here") == stage


@pytest.mark.parametrize("kind", STAGES)
def test_an_unknown_key_is_named(kind: type[Stage]) -> None:
    with pytest.raises(ConfigError, match="here: no_such_key: unknown key"):
        make(kind, no_such_key=1)


@pytest.mark.parametrize("kind", STAGES)
def test_every_setting_is_described(kind: type[Stage]) -> None:
    fields = {name: field for name, field in kind.model_fields.items() if name != "stage"}

    assert all(field.description for field in fields.values())
    assert kind.__doc__


@pytest.mark.parametrize("kind", STAGES)
def test_names_do_not_change_the_digest_but_settings_do(kind: type[Stage]) -> None:
    plain, named = make(kind), make(kind, id="another")

    assert digest_of(plain.deciding_settings()) == digest_of(named.deciding_settings())
    if "epochs" in kind.model_fields:
        assert digest_of(make(kind, epochs=7).deciding_settings()) != digest_of(plain.deciding_settings())


@pytest.mark.parametrize("kind", STAGES)
def test_settings_are_frozen(kind: type[Stage]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        make(kind).id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([{"stage": "export", "models": ["nobody"]}], r"stages\[1\]\.models: there is no stage 'nobody'"),
        ([{"stage": "qat", "teacher": "nobody"}], r"stages\[1\]\.teacher: there is no stage 'nobody'"),
        ([{"stage": "distill", "teacher": "none"}], r"stages\[1\]\.teacher: distillation needs a teacher, found none"),
        ([{"stage": "export", "models": ["teacher", "teacher"]}], r"stages\[1\]\.models: a stage is named twice"),
        (
            [{"stage": "ptq"}, {"stage": "distill"}],
            r"stages\[2\]\.source: 'ptq' \(ptq\) leaves no float model; name a stage that does: teacher, prune, dist",
        ),
        (
            [{"stage": "export"}, {"stage": "export", "id": "again", "models": ["export"]}],
            r"stages\[2\]\.models: 'export' \(export\) leaves no model; name a stage that does: teacher, .*, qat",
        ),
    ],
)
def test_a_wrong_reference_is_told_at_its_key(stages: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        validate(Pipeline, {"name": "x", "stages": [{"stage": "teacher", "model": "resnet8"}, *stages]}, "x").check()


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (
            {"stage": "prune", "pruning_ratio": 0.9},
            "pruning_ratio: is 0.9, but no layer may lose more than max_pruning",
        ),
        *(
            (
                {"stage": "teacher", "model": "resnet8", "weights": "imagenet", "epochs": 0, **given},
                f"{key}: is for tra",
            )
            for given in ({"lr": 0.1}, {"batch_size": 64}, {"weight_decay": 5e-4}, {"precision": "float32"})
            for key in given
        ),
    ],
)
def test_a_setting_that_another_one_makes_inert_is_refused(tree: dict[str, Any], told: str) -> None:
    kind = next(kind for kind in STAGES if kind.model_fields["stage"].default == tree["stage"])

    with pytest.raises(ConfigError) as error:
        validate(kind, tree, "here")

    assert str(error.value).startswith(f"here.{told}")
