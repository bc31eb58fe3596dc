"""Latency measured in the same process, one run a visit, and plots left blank: most tests only need figures."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from matplotlib.figure import Figure

from edgekd.ondevice import latency, rounds
from edgekd.ondevice.rounds import Load, costs_of, timed
from edgekd.report import measuring


def _timed_here(do: str, files: Sequence[Path], load: Load, seed: Sequence[int], told: Callable[[int], None]) -> Any:
    assert do == "time"
    return timed(files, load, seed, lambda said: told(said["rounds"]) if "rounds" in said else None)


def _costs_here(do: str, files: Sequence[Path], load: Load) -> Any:
    assert do == "costs"
    return costs_of(files[0], load)


def _saved_blank(figure: Figure, written: TextIO, **_: object) -> None:
    """Everything was drawn on the figure by then; left out is matplotlib's layout of it, half a second a plot."""
    width, height = figure.get_size_inches()
    written.write(f'<svg viewBox="0 0 {72 * width:g} {72 * height:g}"></svg>')


_BRIEFLY = {
    (latency, "in_own_process"): _timed_here,
    (measuring, "in_own_process"): _costs_here,
    (rounds, "OPENINGS"): 1,
    (rounds, "WARM_UP_SECONDS"): 0.0,
    (rounds, "SECONDS_PER_VISIT"): 0.0,
}
AS_USERS_HAVE_IT = {(module, name): getattr(module, name) for module, name in _BRIEFLY}
_SAVEFIG = Figure.savefig


def patch(setting: Callable[[Any, str, Any], None]) -> None:
    """Measure and draw briefly from now on."""
    for (module, name), value in _BRIEFLY.items():
        setting(module, name, value)
    setting(Figure, "savefig", _saved_blank)


def plots_as_users_have_them() -> AbstractContextManager[object]:
    """Meanwhile plots are laid out and written in full."""
    return mock.patch.object(Figure, "savefig", _SAVEFIG)
