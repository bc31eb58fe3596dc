"""The JSON schema of a pipeline file, by which editors complete and check it."""

from typing import Any

from edgekd.pipeline.pipeline import Pipeline

CHOSEN_BY = ("stage", "name")
"""Keys by which one of several kinds of settings is chosen."""
UNLESS_NAMED = "digits"
"""The dataset that is meant where none is named."""


def schema() -> dict[str, Any]:
    """The schema; what several settings decide together is checked by ``edgekd pipeline plan`` alone."""
    found = Pipeline.model_json_schema()
    for settings in found["$defs"].values():
        _choose(settings)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _choose(settings: dict[str, Any]) -> None:
    """Make the key that chooses these settings required: each has it as its default, and so would fit without it."""
    properties = settings.get("properties", {})
    for key in CHOSEN_BY:
        if "const" in properties.get(key, {}) and properties[key]["const"] != UNLESS_NAMED:
            settings["required"] = [*settings.get("required", []), key]
