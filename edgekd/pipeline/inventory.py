"""What the model store contains, what refers to it, and what can be collected."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import ArtifactError
from edgekd.report.ablation.load import load_ablation
from edgekd.report.ablation.schema import FILE as ABLATION
from edgekd.report.search.schema import FILE as FRONT
from edgekd.report.shipped import front_digests, shipped_digests
from edgekd.stages.manifests import MEASUREMENT, Manifest, manifest_of
from edgekd.store import lock
from edgekd.store.artifacts import IN_USE, PARTIAL, SET_ASIDE, WRITING, Artifact, Store
from edgekd.store.disk import disk_errors
from edgekd.store.folder import REPLACED, delete
from edgekd.store.lock import LOCK
from edgekd.training.checkpoint import Checkpoints

State = Literal["complete", "damaged", "partial", "set aside", "left-over"]

_DIGEST = r"(?P<digest>[0-9a-f]{16})"
_STATES: dict[str, State] = {
    rf"{_DIGEST}": "complete",
    rf"{_DIGEST}{re.escape(PARTIAL)}": "partial",
    rf"{_DIGEST}{re.escape(SET_ASIDE)}\w+": "set aside",
    rf"{_DIGEST}({re.escape(LOCK)}|{re.escape(IN_USE)})": "left-over",
    rf"({re.escape(WRITING)}|{re.escape(REPLACED)})({_DIGEST}-)?\w+": "left-over",
}
"""Name in the store -> state; files with other names are not edgekd's."""
_BESIDE = re.compile(r"\.(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*?)-(?P<old>old-)?[a-z0-9_]{8}")
"""A temporary folder that was to become ``exports/<name>/``, or that was replaced as it."""


@dataclass(frozen=True)
class Entry:
    """A folder or file that edgekd wrote.

    Args:
        path: its path.
        state: what it is; left-over: of a killed run, never mistaken for complete.
        digest: first 16 digits of the artifact it belongs to; empty where that is not known.
        stage: the stage that made it, ``kind id``; ``measurement`` of exported files.
        size_bytes: of everything in it.
        changed: when it was last changed, seconds since 1970.
        detail: what is wrong, or how far it is.
        exports: names below ``exports/`` whose report refers to it.
        live: a run is using or making it.
    """

    path: Path
    state: State
    digest: str
    stage: str
    size_bytes: int
    changed: float
    detail: str = ""
    exports: tuple[str, ...] = ()
    live: bool = False
    parents: tuple[str, ...] = field(default=(), repr=False)

    @property
    def kept(self) -> bool:
        """Is it protected: in use by a run, or part of something shipped?"""
        return self.live or (self.state in ("complete", "damaged") and bool(self.exports))


def inventory(store: Store, exports: Path) -> list[Entry]:
    """Everything that edgekd wrote to the store and beside the exports, with all checksums verified; read-only.

    Raises:
        ArtifactError: there is no such folder, or a report below ``exports`` cannot be read.
        ReportError: an ablation there cannot be read.
    """
    for folder in (store.root, exports):
        if not folder.is_dir():
            raise ArtifactError(str(folder), "there is no such folder", "name it with --models and --exports")
    entries = [entry for path in sorted(store.root.iterdir()) if (entry := _entry(path, store)) is not None]
    shipped = _shipped(exports, {entry.digest: entry.parents for entry in entries if entry.state == "complete"})
    found = [replace(entry, exports=_names(entry, shipped)) for entry in entries]
    return [*found, *_beside_exports(exports)]


def _entry(path: Path, store: Store) -> Entry | None:
    for pattern, state in _STATES.items():
        match = re.fullmatch(pattern, path.name)
        if match is not None:
            return _described(path, state, match["digest"] or "", store)
    return None


def _described(path: Path, state: State, digest: str, store: Store) -> Entry:
    size_bytes, changed = _extent(path)
    entry = Entry(path, state, digest, "", size_bytes, changed, live=_is_live(digest, store))
    if state == "complete":
        return _examined(entry, store)
    if state == "partial":
        saved = Checkpoints(path).latest()
        return replace(entry, detail="no checkpoint" if saved is None else f"after epoch {len(saved.facts['logs'])}")
    return entry


def _examined(entry: Entry, store: Store) -> Entry:
    """An artifact with the facts of its manifest, or with what is wrong with it."""
    found = store.inspected(entry.path)
    if not isinstance(found, Artifact):
        return replace(entry, state="damaged", detail=found)
    try:
        made = manifest_of(found, Manifest)
    except ArtifactError as error:
        return replace(entry, state="damaged", detail=error.problem)
    entry = replace(entry, stage=made.label, parents=tuple(parent[:16] for parent in made.made_from.values()))
    return replace(entry, live=any(_is_live(digest, store) for digest in _guards(entry)))


def _guards(entry: Entry) -> tuple[str, ...]:
    """The digests whose locks protect an entry: its own and, for a measurement, those of what was measured."""
    return (entry.digest, *(entry.parents if entry.stage == MEASUREMENT else ()))


def _extent(path: Path) -> tuple[int, float]:
    """Total size in bytes and latest modification time; files that vanish meanwhile are ignored."""
    size_bytes, changed = 0, 0.0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):
            about = each.lstat()
            size_bytes += about.st_size if not each.is_dir() else 0
            changed = max(changed, about.st_mtime)
    return size_bytes, changed


def _is_live(digest: str, store: Store) -> bool:
    return bool(digest) and any(lock.holder(store.root / f"{digest}{suffix}") for suffix in (LOCK, IN_USE))


def _shipped(exports: Path, parents: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Export -> the digests that its report, its ablation and its front refer to, and all their ancestors."""
    shipped: dict[str, set[str]] = {}
    for folder in sorted(exports.iterdir()):
        digests = [] if folder.name.startswith(".") else _referred(folder)
        if digests:
            shipped[folder.name] = _with_ancestors({digest[:16] for digest in digests}, parents)
    return shipped


def _referred(folder: Path) -> list[str]:
    ablation = load_ablation(folder / ABLATION)
    ablated = [digest for run in ablation.runs for digest in run.digests] if ablation else []
    shipped, front = shipped_digests(folder / "report.json") or (), front_digests(folder / FRONT) or ()
    return [*shipped, *ablated, *front]


def _with_ancestors(digests: set[str], parents: Mapping[str, Sequence[str]]) -> set[str]:
    found, more = set[str](), list(digests)
    while more:
        digest = more.pop()
        if digest not in found:
            found.add(digest)
            more += parents.get(digest, ())
    return found


def _names(entry: Entry, shipped: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The exports that refer to an entry; a measurement belongs to those that ship what was measured."""
    own = set(entry.parents) if entry.stage == MEASUREMENT else {entry.digest}
    return tuple(name for name, digests in shipped.items() if own & digests)


def _beside_exports(exports: Path) -> Iterator[Entry]:
    """Leftovers of killed runs beside the exports."""
    for path in sorted(exports.iterdir()):
        places = _export_locks(path)
        if places:
            live = any(lock.holder(place) for place in places)
            yield Entry(path, "left-over", "", "", *_extent(path), detail="of an export", live=live)


def _export_locks(path: Path) -> list[Path]:
    """The locks of a killed run's leftover beside the exports; empty if it is something else."""
    match = _BESIDE.fullmatch(path.name)
    if match is not None and path.is_dir() and not path.is_symlink():
        inside = {each.name for each in path.iterdir()}
        # A user's hidden folder may match the pattern: edgekd's own is empty or holds what an export holds.
        if inside and not any(name in ("old", "report.json", ABLATION) or name.endswith(".onnx") for name in inside):
            return []
        names = [match["name"], *([f"{match['name']}-old"] if match["old"] else [])]
        return [path.with_name(f".{name}{LOCK}") for name in names]
    return [path] if re.fullmatch(rf"\..+{re.escape(LOCK)}", path.name) else []


def collect(entries: Sequence[Entry], store: Store, exports: Path) -> tuple[list[Entry], list[Entry]]:
    """Delete what is not protected.

    Returns:
        What was deleted, and what stays because a run has begun to use or ship it meanwhile.

    Raises:
        ArtifactError: the disk refuses.
    """
    parents = {entry.digest: entry.parents for entry in entries if entry.state == "complete"}
    gone: list[Entry] = []
    stays: list[Entry] = []
    for entry in entries:
        if not entry.kept:
            (gone if _deleted(entry, store, exports, parents) else stays).append(entry)
    return gone, stays


def _deleted(entry: Entry, store: Store, exports: Path, parents: Mapping[str, Sequence[str]]) -> bool:
    """Delete an entry unless a run holds any of its locks, or a new report refers to it."""
    with contextlib.ExitStack() as stack, disk_errors(entry.path):
        for place in _locks(entry, store):
            held = lock.take(place)
            if held is None:
                return False
            stack.callback(lock.release, place, held)
        # Checked again with the locks held: a run may have shipped the artifact since the inventory was taken.
        if replace(entry, exports=_names(entry, _shipped(exports, parents))).kept:
            return False
        # With this prefix the next collection recognises what a killed one leaves behind.
        delete(entry.path, WRITING)
    return True


def _locks(entry: Entry, store: Store) -> list[Path]:
    if not entry.digest:
        return _export_locks(entry.path)
    return [store.root / f"{digest}{suffix}" for digest in _guards(entry) for suffix in (IN_USE, LOCK)]


def as_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The same as plain data."""
    hidden = {"path", "parents"}
    plain = [{key: value for key, value in vars(entry).items() if key not in hidden} for entry in entries]
    return [{"name": entry.path.name, **about, "kept": entry.kept} for entry, about in zip(entries, plain, strict=True)]
