"""Pages that are made from the code: every YAML key, every command, the Python API."""

from docs.made import commands, python_api, settings


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> Markdown."""
    return {**settings.pages(), "commands.md": commands.page(), "api.md": python_api.page()}
