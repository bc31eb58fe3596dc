"""``search:`` in a pipeline file: which settings a search varies, and between which values."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from edgekd.config import SettingError, Settings, suggest, with_overrides
from edgekd.config.words import cut, shown
from edgekd.errors import ConfigError

DIGITS = 3
"""Significant digits of a number that is tried: a file to keep should be readable."""
SEARCHED = ("data", "stages")
"""What a search may vary besides stages by their ids: trials with targets of their own could not be compared."""
_EXAMPLES = {"data": "image_size", "stages": "prune.pruning_ratio"}


Number = Annotated[
    Annotated[int, Tag("(whole)")] | Annotated[float, Tag("(number)")],
    Discriminator(lambda given: "(whole)" if isinstance(given, int) else "(number)"),
]


class Numbers(Settings):
    """Numbers from ``low`` to ``high``, whole ones where both are; written ``[low, high]`` or as a mapping."""

    low: Number = Field(description="the smallest")
    high: Number = Field(description="the largest")
    log: bool = Field(False, description="every factor is tried as often, as for learning rates")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.low >= self.high:
            raise SettingError("high", f"must be above low ({self.low:g}), found {self.high:g}")
        if self.log and self.low <= 0:
            raise SettingError("low", f"must be above 0 where log is true, found {self.low:g}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        return {"anyOf": [pair, handler.resolve_ref_schema(handler(core))]}

    @property
    def whole(self) -> bool:
        """Are they whole numbers?"""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def extremes(self) -> list[Any]:
        """Values of which all others are valid if these are."""
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Is it one of them, as a file has it?"""
        number = isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        return number and (float(value).is_integer() if self.whole else self.written(value) == value)

    def written(self, number: float) -> float:
        """A number of the range as a file has it.

        >>> Numbers(low=0.01, high=0.3).written(0.123456)
        0.123
        """
        return number if self.whole else min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high)


class Choice(Settings):
    """One of several values, each as the file would have it: ``{any: [kd, dkd]}``."""

    any: list[Any] = Field(min_length=2, description="the values; mappings, lists and null among them")

    @field_validator("any")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        texts = [json.dumps(value, sort_keys=True) for value in values]
        for text in texts:
            if texts.count(text) > 1:
                raise ValueError(f"{text} is named twice; name each value once")
        return values

    @property
    def extremes(self) -> list[Any]:
        """All of them."""
        return self.any

    def holds(self, value: Any) -> bool:
        """Is it one of them?"""
        return value in self.any


def _spelled_out(given: Any) -> Any:
    if isinstance(given, list) and len(given) == 2:
        return {"low": given[0], "high": given[1]}
    if not isinstance(given, Mapping | Settings):
        raise ValueError(f"must be [low, high] or a mapping with low and high, or with any; found {shown(given)}")
    return given


def _kind(given: Any) -> str:
    chosen = isinstance(given, Choice) or (isinstance(given, Mapping) and "any" in given)
    return "(choice)" if chosen else "(numbers)"


Dimension = Annotated[
    Annotated[Numbers, Tag("(numbers)")] | Annotated[Choice, Tag("(choice)")],
    Discriminator(_kind),
    BeforeValidator(_spelled_out),
]
Space = Annotated[
    dict[str, Dimension],
    Field(
        min_length=1,
        description="what edgekd search varies: STAGE.setting or data.setting, and [low, high], "
        "{low: 0.01, high: 0.3, log: true} or {any: [kd, dkd]}",
    ),
]
Values = Mapping[str, Any]
"""Setting, as ``search:`` names it -> its value."""


def with_values(tree: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """A pipeline file's tree with some values put in, and without ``search:``; what a trial runs."""
    plain = {key: value for key, value in tree.items() if key != "search"}
    return with_overrides(plain, [f"{path_of(key, tree)}={json.dumps(value)}" for key, value in values.items()])


def path_of(key: str, tree: Mapping[str, Any]) -> str:
    """A setting's path as ``--set`` has it: a stage may be named without ``stages.`` before it.

    >>> path_of("prune.pruning_ratio", {"stages": [{"stage": "prune"}]})
    'stages.prune.pruning_ratio'
    """
    return f"stages.{key}" if key.partition(".")[0] in _stages(tree) else key


def value_of(key: str, tree: Mapping[str, Any]) -> Any:
    """What the file says there; None where it says nothing."""
    found: Any = tree
    for part in path_of(key, tree).split("."):
        if isinstance(found, list):
            found = next((item for item in found if part in (item.get("id"), item.get("stage"))), None)
        else:
            found = found.get(part) if isinstance(found, Mapping) else None
    return found


def check_space(space: Space, tree: Mapping[str, Any], where: str, check: Callable[[dict[str, Any]], object]) -> None:
    """Raise ConfigError unless the file is valid with each value of the space alone.

    Args:
        space: what is varied.
        tree: the file.
        where: its name.
        check: raises ConfigError for a tree that is no valid file.
    """
    for key, dimension in space.items():
        place = f"{where}: search.{cut(key)}"
        _check_key(key, tree, place)
        for value in dimension.extremes:
            try:
                check(with_values(tree, {key: value}))
            except ConfigError as error:
                refused = f"with {shown(value)} there the file is refused: {error.problem}"
                raise ConfigError(place, refused, error.remedy) from None


def _check_key(key: str, tree: Mapping[str, Any], place: str) -> None:
    head, dot, _ = key.partition(".")
    if head not in (*_stages(tree), *SEARCHED):
        raise ConfigError(place, f"there is no stage {cut(head)!r}", suggest(head, [*_stages(tree), "data"]))
    if not dot and head in SEARCHED:
        raise ConfigError(place, "names no setting", f"write e.g. {head}.{_EXAMPLES[head]}")


def _stages(tree: Mapping[str, Any]) -> list[str]:
    return [str(stage.get("id") or stage.get("stage")) for stage in tree.get("stages", [])]
