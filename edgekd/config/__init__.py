"""Settings, YAML reading, --set overrides; every mistake becomes one line with its dotted place."""

from edgekd.config.image_size import ImageSize
from edgekd.config.mistakes import MOST_MISTAKES, validate
from edgekd.config.overrides import with_overrides
from edgekd.config.settings import Named, PathText, SettingError, Settings, by_name
from edgekd.config.words import dotted, suggest
from edgekd.config.yaml_file import MAX_YAML_BYTES, MAX_YAML_DEPTH, parse_yaml, read_yaml

__all__ = [
    "MAX_YAML_BYTES",
    "MAX_YAML_DEPTH",
    "MOST_MISTAKES",
    "ImageSize",
    "Named",
    "PathText",
    "SettingError",
    "Settings",
    "by_name",
    "dotted",
    "parse_yaml",
    "read_yaml",
    "suggest",
    "validate",
    "with_overrides",
]
