"""Every YAML key, from the settings' own descriptions, defaults and ranges."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from docs.made.values import shown, takes
from docs.made.words import explained, plain, sentence
from edgekd.config import Settings
from edgekd.config.target import Target
from edgekd.data import AnyData
from edgekd.data.settings import DataSettings
from edgekd.pipeline import Pipeline
from edgekd.pipeline.schema import schema
from edgekd.pipeline.search.space import Choice, Numbers
from edgekd.report.fitting import Budget
from edgekd.stages import STAGES, Stage

KINDS: tuple[type[DataSettings], ...] = get_args(get_args(AnyData)[0])
"""The datasets."""
PARTS = {"data": "data.md", "target": "target.md", "budget": "budget.md", "search": "search.md"}
"""Key of a pipeline file -> the page of the keys inside."""


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> Markdown."""
    stages = {f"yaml/{_name(kind)}.md": _stage(kind) for kind in STAGES}
    return {
        "yaml/pipeline.md": _pipeline(),
        "yaml/data.md": _data(),
        "yaml/target.md": _page("target", Target),
        **stages,
        "yaml/budget.md": _page("budget", Budget),
        "yaml/search.md": _search(),
    }


def _pipeline() -> str:
    elsewhere = {key: f"[The keys inside]({page})." for key, page in PARTS.items()}
    elsewhere["stages"] = "Kinds of stage: " + ", ".join(f"[{_name(kind)}]({_name(kind)}.md)" for kind in STAGES) + "."
    texts = [_key(key, about, elsewhere.get(key, "")) for key, about in _pipeline_schema()["properties"].items()]
    return _joined("# The pipeline file", explained(Pipeline), *texts)


def _page(title: str, kind: type[Settings]) -> str:
    return _joined(f"# {title}", explained(kind), *_keys(kind))


def _stage(kind: type[Stage]) -> str:
    needs = ", ".join(f"{found.noun} as `{role}`" for role, found in kind.reads.items()) or "nothing but the images"
    flow = f"Begins with: {needs}. Leaves: {kind.leaves.noun}."
    return _joined(f"# stage: {_name(kind)}", explained(kind), flow, *_keys(kind, first=_own_first(kind, Stage)))


def _data() -> str:
    common = [_key(key, about) for key, about in _properties(KINDS[0]).items() if key in DataSettings.model_fields]
    each = [
        _joined(f"## {_name(kind)}", explained(kind), *_keys(kind, "###", without=DataSettings.model_fields))
        for kind in KINDS
    ]
    names = ", ".join(f"[`{_name(kind)}`](#{_name(kind)})" for kind in KINDS)
    of_all = f"`name` chooses the dataset: {names}; digits unless given. These keys are of all of them:"
    return _joined("# data", of_all, *common, *each)


def _search() -> str:
    texts = [
        _joined(f"## {heading}", explained(kind), *_keys(kind, "###"))
        for heading, kind in (("Numbers", Numbers), ("Values", Choice))
    ]
    return _joined("# search", sentence(_description(_pipeline_schema()["properties"]["search"])), *texts)


def _keys(
    kind: type[Settings], level: str = "##", without: Sequence[str] | dict[str, Any] = (), first: Sequence[str] = ()
) -> Iterator[str]:
    """Each key of some settings; ``first`` gives the order of those that it names."""
    properties = _properties(kind)
    for key in [*first, *(key for key in properties if key not in first)]:
        if "const" not in properties[key] and key not in without:
            yield _key(key, properties[key], level=level)


def _key(key: str, about: dict[str, Any], more: str = "", level: str = "##") -> str:
    default = "required" if "default" not in about else f"default `{shown(about['default'])}`"
    if about.get("default", 0) is None or more:
        default = "optional" if "default" in about else default
    facts = " · ".join(text for text in ("" if more else takes(about, _definitions()), default) if text)
    alternatives = "\n".join(_alternatives(about))
    return _joined(f"{level} `{key}`", f"{facts}\n{{ .takes }}", sentence(_description(about)), alternatives, more)


def _alternatives(about: dict[str, Any]) -> Iterator[str]:
    """What may be chosen by its name, each with its parameters."""
    options = about.get("oneOf") or next((one["oneOf"] for one in about.get("anyOf", []) if "oneOf" in one), [])
    for option in options:
        chosen = _definitions().get(option.get("$ref", "").rpartition("/")[2], {})
        named = next((one for one in chosen.get("anyOf", []) if "properties" in one), None)
        if named is None:
            continue
        yield f"- `{named['properties']['name']['const']}`: {plain(named['description'].splitlines()[0])}"
        for key, parameter in named["properties"].items():
            if key != "name":
                facts = f"{takes(parameter, {})}, default `{shown(parameter['default'])}`"
                yield f"    - `{key}`: {sentence(parameter['description'])} ({facts})"


def _own_first(kind: type[Settings], base: type[Settings]) -> list[str]:
    return [key for key in kind.model_fields if key not in base.model_fields]


def _properties(kind: type[Settings]) -> dict[str, Any]:
    about = _definitions()[kind.__name__]
    found: dict[str, Any] = next((one for one in about.get("anyOf", []) if "properties" in one), about)["properties"]
    return found


def _description(about: dict[str, Any]) -> str:
    """A type that may be left out has it inside."""
    return next(one["description"] for one in (about, *about.get("anyOf", [])) if "description" in one)


@functools.cache
def _pipeline_schema() -> dict[str, Any]:
    return schema()


def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = _pipeline_schema()["$defs"]
    return found


def _name(kind: type[Settings]) -> str:
    """The word by which a file chooses it."""
    return str(next(kind.model_fields[key].default for key in ("stage", "name") if key in kind.model_fields))


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text) + "\n"
