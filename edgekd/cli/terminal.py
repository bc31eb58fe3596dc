"""Terminal output: live progress, the plan, status, inventory, the doctor's findings."""

import contextlib
import datetime
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from edgekd.config.progress import Progress
from edgekd.config.schemes import INT8, scheme_for
from edgekd.config.target import Target
from edgekd.errors import printable
from edgekd.ondevice.machine import ISAS, cpu_flags, cpu_name, host_isa, usable_cores
from edgekd.report.wording import kilobytes
from edgekd.training.environment import PACKAGES, environment

if TYPE_CHECKING:
    from edgekd.bundle.deploy import Deployed
    from edgekd.pipeline import Planned
    from edgekd.pipeline.ablation import AblationStatus
    from edgekd.pipeline.inventory import Entry
    from edgekd.pipeline.predictions import Prediction
    from edgekd.pipeline.sensitivity import GroupLoss
    from edgekd.pipeline.status import Status

SECONDS_BETWEEN_LINES = 10.0


def console(stream: TextIO | None = None) -> Console:
    """A rich console on a stream (standard output unless given) that does not interpret markup in names."""
    tty = (stream or sys.stdout).isatty()
    return Console(file=stream, markup=False, highlight=False, soft_wrap=not tty, width=None if tty else 120)


@contextlib.contextmanager
def libraries_unheard() -> Iterator[TextIO]:
    """A stream to standard output; everything else written to stdout or stderr meanwhile is dropped.

    Libraries print warnings and graphs, some from C++. With ``--debug`` all of it is shown.
    """
    if "--debug" in sys.argv:
        yield sys.stdout
        return
    # What is still buffered would be written after the redirection, and lost.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_own_copy(sys.stdout))
        nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        # The file descriptors as well: C++ libraries write past sys.stdout.
        for descriptor in (1, 2):
            stack.enter_context(_pointed_at(descriptor, nowhere.fileno()))
        yield ours


@contextlib.contextmanager
def _own_copy(stream: TextIO) -> Iterator[TextIO]:
    """The stream, duplicated to another descriptor if it writes to standard output's."""
    try:
        descriptor = stream.fileno()
    # A stream in memory has no descriptor.
    except OSError:
        descriptor = -1
    if descriptor != 1:
        yield stream
        return
    with os.fdopen(os.dup(descriptor), "w", encoding=stream.encoding, errors=stream.errors) as copy:
        yield copy


@contextlib.contextmanager
def _pointed_at(descriptor: int, other: int) -> Iterator[None]:
    kept = os.dup(descriptor)
    os.dup2(other, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


@contextlib.contextmanager
def live_progress(quiet: bool = False) -> Iterator[Progress]:
    """Progress bars on a terminal, plain lines elsewhere; ``quiet``: nothing, because a program reads the output."""
    with libraries_unheard() as stream:
        if quiet:
            yield Progress()
        elif not stream.isatty():
            yield PlainProgress(stream)
        else:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("time left"),
                TimeRemainingColumn(),
            )
            debug = stream is sys.stdout
            with Bars(
                *columns, console=console(stream), transient=True, redirect_stdout=debug, redirect_stderr=debug
            ) as bars:
                yield LiveProgress(bars)


class PlainProgress(Progress):
    """One line per stage, epoch and note, and occasional lines during long work."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._began: dict[str, tuple[float, float]] = {}
        """Label -> when the work was first reported and the share done by then, not 0 if a training resumes."""
        self._said: dict[str, float] = {}

    def note(self, text: str) -> None:
        # Notes contain names from files and devices, and a terminal would interpret control characters in them.
        print("".join(f"  {printable(line)}\n" for line in text.splitlines()), end="", file=self._stream, flush=True)

    def stage(self, label: str, index: int, total: int) -> None:
        print(f"[{index + 1}/{total}] {label}", file=self._stream, flush=True)

    def work(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        began, _ = self._began.setdefault(label, (now, done / max(total, 1)))
        if 0 < done < total and now - self._said.setdefault(label, began) > SECONDS_BETWEEN_LINES:
            self._said[label] = now
            left = self._left(label, done / total)
            print(f"  {label}: {done}/{total}, {left} left", file=self._stream, flush=True)

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        self._began.setdefault(label, (time.monotonic(), 0.0))
        self._said[label] = time.monotonic()
        left = self._left(label, epoch / max(epochs, 1))
        line = f"  {label} epoch {epoch}/{epochs}: {_figures(figures)}, {left} left"
        print(line, file=self._stream, flush=True)

    def _left(self, label: str, share: float) -> str:
        began, share_then = self._began[label]
        seconds = round((time.monotonic() - began) * (1 - share) / max(share - share_then, 1e-9))
        return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


class LiveProgress(Progress):
    """A bar with the time left for the current work; stages, epochs and notes scroll above it."""

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


def render_plan(planned: "Sequence[Planned]", predicted: "Mapping[str, Prediction]") -> RenderableType:
    """A table of stages: whether they are up to date, the size and accuracy of their models, and what was predicted."""
    from edgekd.stages.manifests import FloatModel, StageManifest, manifest_of
    from edgekd.zoo import stem_in_words

    foreseen = ["int8, kB", "int8, p50 ms"] if predicted else []
    titles = ["stage", "kind", "digest", "state", "MACs", "parameters", *foreseen, "val accuracy", "stem"]
    table = Table(*titles, box=None, pad_edge=False)
    for item in planned:
        made = manifest_of(item.artifact, StageManifest) if item.artifact else None
        state = "up to date" if made else "to do"
        size = [f"{made.size.macs:,}", f"{made.size.params:,}"] if isinstance(made, FloatModel) else ["", ""]
        accuracy = "" if made is None or made.accuracy is None else f"{made.accuracy:.4f}"
        costs = ["", ""][: len(foreseen)]
        if (found := predicted.get(item.name)) is not None:
            size = [f"{found.macs:,}", f"{found.params:,}"]
            costs = [f"{value:.3g}" if value is not None else "" for value in (found.size_kb, found.latency_ms)]
        stem = stem_in_words(item.spec) if item.spec and getattr(item.stage, "model", None) else ""
        table.add_row(item.name, item.stage.kind, item.digest[:12], state, *size, *costs, accuracy, stem)
    return table


def render_sensitivity(found: "Sequence[GroupLoss]") -> RenderableType:
    """A table of groups of channels: points of accuracy lost, and the share of MACs saved, at each cut."""
    shares = sorted({share for group in found for share in group.drop})
    titles = [f"{share:.0%} cut: points, MACs" for share in shares]
    table = Table("layers", "channels", *titles, "", box=None, pad_edge=False)
    for group in found:
        more = f" and {len(group.layers) - 1} more" if len(group.layers) > 1 else ""
        cells = [
            f"{-100 * group.drop[share]:+.1f}, {-100 * group.macs[share]:+.1f} %" if share in group.drop else ""
            for share in shares
        ]
        table.add_row(group.layers[0] + more, str(group.channels), *cells, group.kept_because)
    return table


def render_status(found: "Sequence[Status]") -> RenderableType:
    """A table of stages: state, epochs, duration, and the process that works on it or what is wrong."""
    table = Table("stage", "kind", "digest", "state", "epoch", "took", "", box=None, pad_edge=False)
    for status in found:
        epoch = f"{status.epoch} of {status.epochs}" if status.epoch is not None and status.epochs else ""
        took = "" if status.seconds is None else duration(status.seconds)
        table.add_row(status.name, status.stage, status.digest[:12], status.state, epoch, took, status.detail)
    return table


def render_ablation_status(found: "AblationStatus") -> RenderableType:
    """A table of runs, and about how long what is left takes."""
    table = Table("seed", "arm", "state", "", box=None, pad_edge=False)
    for run in found.runs:
        table.add_row(str(run.seed), run.arm, run.state, run.detail)
    left = f", about {duration(found.seconds_left)} of stages left" if found.seconds_left else ""
    return Group(table, Text(f"{found.done} of {len(found.runs)} runs done{left}"))


def render_inventory(entries: "Sequence[Entry]") -> RenderableType:
    """A table of the store's entries: state, stage, size, date, and the exports that refer to them."""
    table = Table("name", "state", "stage", "size, kB", "changed", "exports", "", box=None, pad_edge=False)
    table.columns[3].justify = "right"
    for entry in entries:
        changed = datetime.datetime.fromtimestamp(entry.changed).isoformat(" ", "minutes")
        detail = ", ".join(filter(None, [entry.detail, "in use by a run" if entry.live else ""]))
        exports, size = ", ".join(entry.exports), kilobytes(entry.size_bytes)
        table.add_row(entry.path.name, entry.state, entry.stage, size, changed, exports, detail)
    return table


def total(entries: "Sequence[Entry]") -> str:
    """Their number and total size.

    >>> total([])
    '0, 0.0 kB'
    """
    return f"{len(entries)}, {kilobytes(sum(entry.size_bytes for entry in entries))} kB"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.04), duration(8.25), duration(754), duration(8000)
    ('0.0 s', '8.2 s', '12 min 34 s', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def render_target(target: Target) -> str:
    """The target in one line, and whether it was detected or declared."""
    how = "found on this machine" if target.isa == "host" else "declared"
    return f"target: {target.resolved_isa} ({how}; {cpu_name()}), {target.scheme.weights}"


def render_deployed(host: str, deployed: "Deployed") -> str:
    """What a device serves now, and a warning if it was made for another CPU."""
    before = f"instead of {deployed.replaced}" if deployed.replaced else "the first there"
    removed = f"; removed: {', '.join(deployed.removed)}" if deployed.removed else ""
    warning = f"\nWARNING: {deployed.warning}" if deployed.warning else ""
    return f"{host} serves {deployed.version} now, {before}; its self-test passed there{removed}{warning}"


def render_doctor() -> RenderableType:
    """This machine, and what it means for integer models."""
    from edgekd.onnx_export import ort
    from edgekd.training.parallel import ALONE

    saturates = ort.saturates()
    isa = host_isa()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("CPU", cpu_name())
    table.add_row("instruction set", _instruction_set(isa))
    for flag, name in (
        ("avx2", "AVX2"),
        ("avx512_vnni", "AVX512-VNNI"),
        ("avx_vnni", "AVX-VNNI"),
        ("asimddp", "ARM dot product"),
    ):
        table.add_row(f"  {name}", "yes" if flag in cpu_flags() else "no")
    table.add_row("cores", str(usable_cores()))
    table.add_row("saturation probe", _saturation(saturates, isa))
    table.add_row("GPU for training", ALONE.record().get("gpu", "none that torch sees"))
    found = environment()
    for package in ("python", *PACKAGES):
        table.add_row(package, found[package])
    return table


def _instruction_set(isa: str) -> str:
    if isa not in ISAS:
        return f"{isa}: its integer arithmetic is not known; declare target.isa"
    return f"{isa}, {scheme_for(isa).weights}"


def _saturation(saturates: bool, isa: str) -> str:
    if saturates:
        verdict = "8-bit weights SATURATE here: a tiny model with a known answer came out wrong"
        if isa not in ISAS:
            return f"{verdict}; declare x86-avx2, which has 7-bit weights"
        return f"{verdict}; edgekd trains 7-bit weights" + (
            "" if not INT8.exact_on(isa) else ", but this CPU was taken for one that needs 8: declare x86-avx2"
        )
    return "8-bit weights are exact here: a tiny model with a known answer came out right"
