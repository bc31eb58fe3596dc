"""``edgekd search``: many settings of one pipeline file are tried, and the best measured files are kept."""

import importlib.util

from edgekd.errors import ConfigError


def check_installed() -> None:
    """Raise ConfigError where Optuna, of an extra, is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("search", "Optuna is not installed here", "pip install 'edgekd[search]'")
