"""Frozen settings, and the types of value that they share."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

# Linux's PATH_MAX without its final NUL byte, and NAME_MAX.
MAX_PATH_BYTES, MAX_NAME_BYTES = 4095, 255


class Settings(BaseModel):
    """Frozen settings: an unknown key, a wrong type or a value out of range is an error."""

    # Frozen, because a digest is computed from the settings once: a later change would put a result under the wrong
    # digest. Strict, because pydantic would otherwise take the text "3" for a number. NaN and infinity, which YAML can
    # write, are refused.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SettingError(ValueError):
    """Raised by a check over several settings: ``key`` is the one to change."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


class Named(Settings):
    """One of several alternatives, chosen by its name; the other attributes are its parameters.

    Written ``dkd`` or ``{name: dkd, others_weight: 4}``; serialized as the bare name if all parameters are defaults.
    """

    name: str

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"const": cls.model_fields["name"].default}, mapping]}

    @model_serializer(mode="wrap")
    def _its_name_where_that_says_all(self, serialize: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        given: dict[str, Any] = serialize(self)
        unusual = {key: value for key, value in given.items() if value != type(self).model_fields[key].default}
        return {"name": self.name, **unusual} if unusual else self.name


class NameAlone(dict[str, Any]):
    """A bare name from the file, as the mapping that pydantic expects."""


def by_name(given: Any) -> Any:
    """Turn a bare name into the mapping by which pydantic chooses a ``Named``."""
    return NameAlone(name=given) if isinstance(given, str) else given


def _path(text: str) -> str:
    try:
        # Refused here, where the setting is known: the operating system would refuse the path much later, without
        # naming the setting.
        raw = os.fsencode(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("begins with the home folder of an unknown user; write the whole path") from None
    except UnicodeEncodeError:
        raise ValueError("holds a character that no path has; remove it") from None
    if b"\0" in raw:
        raise ValueError("holds the character U+0000, which no path has; remove it")
    if len(raw) > MAX_PATH_BYTES or max(map(len, raw.split(b"/"))) > MAX_NAME_BYTES:
        raise ValueError(f"is too long for a path ({len(raw)} bytes); write a shorter one")
    return text


PathText = Annotated[str, AfterValidator(_path)]
"""A path that a file system accepts; it need not exist."""
