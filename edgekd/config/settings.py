"""Frozen settings, and the kinds of values that they share."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

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
    """One of several, chosen by its name; its other attributes are its own parameters.

    Written ``dkd`` or ``{name: dkd, others_weight: 4}``: it is its name alone wherever that says all.
    """

    name: str

    @model_serializer(mode="wrap")
    def _its_name_where_that_says_all(self, serialize: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        given: dict[str, Any] = serialize(self)
        unusual = {key: value for key, value in given.items() if value != type(self).model_fields[key].default}
        return {"name": self.name, **unusual} if unusual else self.name


class NameAlone(dict[str, Any]):
    """What stands for a name that was written without parameters."""


def by_name(given: Any) -> Any:
    """What pydantic chooses a ``Named`` by, of what a user wrote."""
    return NameAlone(name=given) if isinstance(given, str) else given


def _path(text: str) -> str:
    try:
        # Refused here, with the place in the file: the operating system would refuse such a path much later, with
        # errors that name neither.
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
"""A path that a file system takes; whether anything lies there is another question."""
