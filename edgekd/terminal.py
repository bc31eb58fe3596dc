"""What a terminal shows: live progress, the plan, the doctor's findings."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from edgekd.errors import printable
from edgekd.pipeline import Planned
from edgekd.runtime import PACKAGES, Progress, cores, environment
from edgekd.target import Target, cpu_flags, cpu_name, host_isa, weight_bits

SECONDS_BETWEEN_LINES = 10.0


def console() -> Console:
    """Standard output; markup in names is text."""
    return Console(
        markup=False, highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 120
    )


@contextlib.contextmanager
def live_progress() -> Iterator[Progress]:
    """Bars on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield PlainProgress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console(), transient=True) as bars:
        yield LiveProgress(bars)


class PlainProgress(Progress):
    """A line for every stage, epoch and note, and one now and then while long work goes on."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def note(self, text: str) -> None:
        print("".join(f"  {printable(line)}\n" for line in text.splitlines()), end="", flush=True)

    def stage(self, label: str, index: int, total: int) -> None:
        print(f"[{index + 1}/{total}] {label}", flush=True)

    def work(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        began = self._began.setdefault(label, now)
        if 0 < done < total and now - self._said.setdefault(label, began) > SECONDS_BETWEEN_LINES:
            self._said[label] = now
            print(f"  {label}: {done}/{total}, {_left(now - began, done, total)} left", flush=True)

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        left = _left(now - self._began.get(label, now), epoch, epochs)
        self._said[label] = now
        print(f"  {label} epoch {epoch}/{epochs}: {_figures(figures)}, {left} left", flush=True)


class LiveProgress(Progress):
    """A bar with the time left for the work under way; stages, epochs and notes stay above it."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, int] = {}

    def note(self, text: str) -> None:
        for line in text.splitlines():
            self._bars.console.print(Text(f"  {printable(line)}", "dim"))

    def stage(self, label: str, index: int, total: int) -> None:
        self._bars.console.print(Text(f"[{index + 1}/{total}] {label}", "bold"))

    def work(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total, visible=done < total)  # type: ignore[arg-type]

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        self._bars.console.print(Text(f"  {label} epoch {epoch}/{epochs}: {_figures(figures)}"))


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def _left(elapsed: float, done: int, total: int) -> str:
    seconds = round(elapsed / done * (total - done))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def render_plan(planned: Sequence[Planned]) -> RenderableType:
    """The stages, which are up to date, and what is known of their models."""
    table = Table("stage", "kind", "digest", "state", "MACs", "parameters", "val accuracy", box=None, pad_edge=False)
    for item in planned:
        manifest = item.artifact.manifest if item.artifact else {}
        state = "up to date" if item.artifact else "to do"
        macs, params = _size(manifest)
        history = manifest.get("history") or {}
        accuracy = history.get("best_accuracy", manifest.get("val_accuracy"))
        table.add_row(
            item.name, item.stage.kind, item.digest[:12], state, macs, params, f"{accuracy:.4f}" if accuracy else ""
        )
    return table


def _size(manifest: Mapping[str, Any]) -> tuple[str, str]:
    size = manifest.get("size")
    return (f"{size['macs']:,}", f"{size['params']:,}") if size else ("", "")


def render_target(target: Target) -> str:
    """The target in one line, and where it was taken from."""
    how = "found on this machine" if target.isa == "host" else "declared"
    return f"target: {target.resolved_isa} ({how}; {cpu_name()}), {target.weight_bits}-bit weights"


def render_doctor() -> RenderableType:
    """This machine, and what it means for integer models."""
    from edgekd import ort

    saturates = ort.saturates()
    isa = host_isa()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("CPU", cpu_name())
    table.add_row("instruction set", f"{isa}, {weight_bits(isa)}-bit weights")
    for flag, name in (
        ("avx2", "AVX2"),
        ("avx512_vnni", "AVX512-VNNI"),
        ("avx_vnni", "AVX-VNNI"),
        ("asimddp", "ARM dot product"),
    ):
        table.add_row(f"  {name}", "yes" if flag in cpu_flags() else "no")
    table.add_row("cores", str(cores()))
    table.add_row("saturation probe", _saturation(saturates, weight_bits(isa)))
    found = environment()
    for package in ("python", *PACKAGES):
        table.add_row(package, found[package])
    return table


def _saturation(saturates: bool, bits: int) -> str:
    if saturates:
        verdict = "8-bit weights SATURATE here: a tiny model with a known answer came out wrong"
        return f"{verdict}; edgekd trains 7-bit weights" + (
            "" if bits == 7 else ", but this CPU was taken for one that needs 8: declare x86-avx2"
        )
    return "8-bit weights are exact here: a tiny model with a known answer came out right"
