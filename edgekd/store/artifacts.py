"""The model store: one folder per digest, renamed into place when complete, verified whenever it is read."""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from edgekd.errors import ArtifactError, BusyError
from edgekd.ondevice.contents import sha256_of
from edgekd.store import lock
from edgekd.store.disk import disk_errors, reading
from edgekd.store.folder import REPLACED, written_beside
from edgekd.store.lock import LOCK

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WRITING, SET_ASIDE = ".writing-", ".set-aside-"
PARTIAL, IN_USE = ".partial", ".in-use"


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256, as 64 hexadecimal digits, over everything that decides a result.

    Args:
        facts: plain data; the order of keys makes no difference.
    """
    # One spelling for one set of facts: neither the order of keys nor white space may make another digest. The format
    # is part of it, so that folders of an older layout are not found rather than misread.
    text = json.dumps({"format": FORMAT_VERSION, **facts}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A complete folder of the store."""

    folder: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        return str(self.manifest["digest"])

    def read(self, name: str) -> bytes:
        """A file's content, verified against its checksum; only files that the manifest lists are read.

        Raises:
            ArtifactError: not listed, a symbolic link, or not what was written.
        """
        try:
            return _checked(self.folder, name, self.manifest["files"][name])
        except (_DamageError, KeyError) as error:
            reason = "is not in its manifest's list" if isinstance(error, KeyError) else f"is damaged ({error})"
            raise ArtifactError(
                str(self.folder / name), reason, "run again: the artifact is set aside and made again"
            ) from None

    def path(self, name: str) -> Path:
        """The path of a file, for libraries that open files themselves; verified as ``read`` does."""
        # Read only for its checksum: the caller opens the path without checking it.
        self.read(name)
        return self.folder / name


class Store:
    """Artifacts by digest, below one folder; several runs may work on it at once.

    Args:
        root: made when the first artifact is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, digest: str) -> Artifact | None:
        """The artifact if its folder is complete and every checksum holds; nothing is changed.

        Raises:
            ArtifactError: the disk refuses.
        """
        # Damage reads as absence here: plan and status only look, and setting an artifact aside needs its lock
        # (``claimed``).
        with contextlib.suppress(_DamageError):
            return self._examined(digest)
        return None

    def damage(self, digest: str) -> str | None:
        """What is wrong with the artifact; None if it is intact or absent."""
        try:
            self._examined(digest)
        except _DamageError as error:
            return str(error)
        return None

    def inspected(self, folder: Path) -> Artifact | str:
        """The artifact in a folder, of any digest; or what is wrong with it."""
        try:
            digest = str(_own_manifest(folder)["digest"])
            if self.folder(digest) != folder:
                raise _DamageError(f"{MANIFEST} is about another artifact")
            return Artifact(folder, _checked_manifest(folder, digest))
        except _DamageError as error:
            return str(error)

    def _examined(self, digest: str) -> Artifact | None:
        folder = self.folder(digest)
        # A dangling link exists for lexists: it is damage, not absence.
        if not os.path.lexists(folder):
            return None
        return Artifact(folder, _checked_manifest(folder, digest))

    @contextlib.contextmanager
    def claimed(self, digest: str, note: Callable[[str], None], *, waits: bool = True) -> Iterator[Artifact | None]:
        """Be the only process that makes an artifact; wait while another one does.

        Args:
            digest: the artifact's name.
            note: called with the process that is waited for, and with a damaged artifact, which is set aside.
            waits: unless true, BusyError is raised instead.

        Yields:
            The artifact if it exists, perhaps made by the process that was waited for; None if it has to be made.
        """
        place = self.lock(digest)

        def waiting(who: str) -> None:
            if not waits:
                raise BusyError(str(place), f"another run is making this ({who})", "try again when it has ended")
            note(f"another run is making this ({who}); waiting")

        with contextlib.ExitStack() as stack:
            with disk_errors(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                # Lock first: anything found, cleared or set aside without it may be another run's work in progress.
                stack.enter_context(lock.held(place, waiting))
            self._clear_left_over(digest)
            damage = self.damage(digest)
            if damage is not None:
                aside = self._set_aside(self.folder(digest))
                note(f"artifact {digest[:16]} is damaged ({damage}): set aside as {aside.name}, made again")
            yield self.find(digest)

    @contextlib.contextmanager
    def in_use(self, digests: Iterable[str]) -> Iterator[None]:
        """Keep artifacts, whether they exist yet or not, from being garbage-collected."""
        with contextlib.ExitStack() as stack:
            with disk_errors(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                # A shared lock: any number of runs may use an artifact, and only ``store gc``, which needs the lock
                # exclusively, is kept out. Artifacts still to be made are locked too, or they could be collected
                # between their rename and their first reader.
                for name in sorted({digest[:16] for digest in digests}):
                    place = self.root / f"{name}{IN_USE}"
                    stack.enter_context(lock.held(place, lambda _: None, shared=True))
            yield

    def folder(self, digest: str) -> Path:
        """The folder of a complete artifact."""
        # 64 of the 256 bits make a readable name; the manifest holds the whole digest, which is compared.
        return self.root / digest[:16]

    def lock(self, digest: str) -> Path:
        """The lock file that the run which makes the artifact holds."""
        return self.root / f"{digest[:16]}{LOCK}"

    def partial(self, digest: str) -> Path:
        """The folder of checkpoints of an unfinished artifact; deleted once it is complete."""
        return self.root / f"{digest[:16]}{PARTIAL}"

    @contextlib.contextmanager
    def writing(self, digest: str, facts: dict[str, Any]) -> Iterator[Path]:
        """A new folder to fill; on exit it gets its manifest with checksums and is renamed into place.

        Args:
            digest: the name it will have.
            facts: what the manifest says besides the checksums; may be extended inside the block.

        Raises:
            ArtifactError: the disk refuses.
        """
        with written_beside(self.folder(digest), f"{WRITING}{digest[:16]}-") as folder:
            yield folder
            _seal(folder, {**facts, "digest": digest, "format": FORMAT_VERSION})
        # Only now: until the artifact is in place and on the disk, its checkpoints are all that a run could go on from
        # after a kill or a power cut.
        shutil.rmtree(self.partial(digest), ignore_errors=True)

    def _set_aside(self, folder: Path) -> Path:
        with disk_errors(folder):
            # Kept for inspection under a fresh name: one artifact may be damaged more than once.
            aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}{SET_ASIDE}", dir=self.root))
            folder.rename(aside / "artifact")
        return aside

    def _clear_left_over(self, digest: str) -> None:
        """Delete what a killed run left of this artifact; its lock is held, so no process is writing it."""
        for prefix in (WRITING, REPLACED):
            for folder in self.root.glob(f"{prefix}{digest[:16]}-*"):
                shutil.rmtree(folder, ignore_errors=True)


class _DamageError(Exception):
    """An artifact is not what was written; the text says why."""


def _seal(folder: Path, manifest: dict[str, Any]) -> None:
    files = {
        str(path.relative_to(folder)): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / MANIFEST).write_text(_manifest_text({**manifest, "files": files}), encoding="utf-8")


def _manifest_text(body: Mapping[str, Any]) -> str:
    """The manifest with its own checksum, in canonical form."""
    seal = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": seal}, indent=1, sort_keys=True)


def _checked_manifest(folder: Path, digest: str) -> dict[str, Any]:
    """The manifest, if it is unchanged and of this digest, and every file that it lists is intact."""
    # A link could lead out of the store, or to a file that changes after it was checked.
    if any(path.is_symlink() for path in (folder, *folder.rglob("*"))):
        raise _DamageError("it holds a symbolic link")
    manifest = _own_manifest(folder)
    if manifest["digest"] != digest or manifest["format"] != FORMAT_VERSION:
        raise _DamageError(f"{MANIFEST} is about another artifact")
    try:
        for name, about in manifest["files"].items():
            _checked(folder, name, about)
    except (KeyError, TypeError, AttributeError):
        raise _DamageError(f"{MANIFEST} has no list of files") from None
    return manifest


def _own_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, if it is unchanged."""
    text = _content(folder, MANIFEST)
    try:
        manifest: dict[str, Any] = json.loads(text)
        del manifest["sha256"]
        # Compared as text, not as data: the same manifest in other letters was not written by edgekd.
        whole = _manifest_text(manifest).encode() == text and {"digest", "format", "files"} <= set(manifest)
    # RecursionError: brackets nested thousands deep, as in a hostile file.
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise _DamageError(f"{MANIFEST} is not as it was written")
    return manifest


def _checked(folder: Path, name: str, about: Mapping[str, Any]) -> bytes:
    content = _content(folder, name)
    if len(content) != about["bytes"] or hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise _DamageError(f"{name} is not as it was written")
    return content


def _content(folder: Path, name: str) -> bytes:
    """The content of a regular file inside the folder.

    Raises:
        _DamageError: it is missing, leads out of the folder, or is not a regular file.
        ArtifactError: the disk refuses.
    """
    path, parts = folder / name, PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts:
        raise _DamageError(f"{name} leads out of the folder")
    try:
        # Opened before it is examined, so that no other file can take its place in between. O_NOFOLLOW refuses a link;
        # O_NONBLOCK keeps a FIFO in place of the file from blocking for ever.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(file, "rb") as opened:  # noqa: PTH123  (a descriptor)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _DamageError(f"{name} is not a regular file")
            return opened.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _DamageError(f"{name} is missing") from None
    except OSError as error:
        if path.is_symlink():
            raise _DamageError(f"{name} is a symbolic link") from None
        with reading(path, remedy="check its permissions and the disk, or delete its folder"):
            raise error from None
