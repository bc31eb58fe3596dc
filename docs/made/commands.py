"""The command line, as ``--help`` knows it."""

from collections.abc import Iterator
from typing import Any

import typer

from docs.made.words import plain, sentence
from edgekd.cli import app


def page() -> str:
    """Every command with its arguments and options."""
    begin = (
        "# The command line\n\nEvery command tells the same with `--help`. Errors are one line each, and exit code 2."
    )
    return "\n\n".join([begin, *_commands(typer.main.get_command(app), "edgekd")]) + "\n"


def _commands(command: Any, called: str) -> Iterator[str]:
    for name, found in getattr(command, "commands", {}).items():
        if hasattr(found, "commands"):
            yield from _commands(found, f"{called} {name}")
        else:
            yield _command(found, f"{called} {name}")


def _command(command: Any, called: str) -> str:
    given = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [parameter for parameter in given if parameter.param_type_name == "argument"]
    usage = " ".join(
        [called, *(_argument(one) for one in arguments), "[OPTIONS]" if len(given) > len(arguments) else ""]
    )
    rows = [f"| `{_written(one)}` | {_meaning(one)} |" for one in given]
    table = "\n".join(["| argument | meaning |", "|---|---|", *rows]) if rows else ""
    return "\n\n".join(part for part in (f"## {called}", f"    {usage}", plain(command.help or ""), table) if part)


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper() + ("..." if parameter.nargs == -1 else ""))


def _written(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _argument(parameter)
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.strip('_').upper()}"
    return f"{parameter.opts[0]}{value}"


def _meaning(parameter: Any) -> str:
    default = parameter.default
    said = default is not None and default is not False and not callable(default) and parameter.show_default
    return sentence(parameter.help or "") + (f" Default `{default}`." if said else "")
