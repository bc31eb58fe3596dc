"""The model store: one folder per digest, written beside and renamed into place, checked when it is read."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgekd.disk import disk_errors
from edgekd.errors import ArtifactError
from edgekd.zoo import ModelSpec, build, widths, with_widths

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256, as 64 hexadecimal digits, over what decides a result.

    Args:
        facts: plain data; the order of keys makes no difference.
    """
    text = json.dumps({"format": FORMAT_VERSION, **facts}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A complete folder of the store."""

    folder: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        return str(self.manifest["digest"])


class Store:
    """Artifacts by digest, below one folder.

    Args:
        root: made when the first artifact is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, digest: str) -> Artifact | None:
        """The artifact if its folder is complete and every checksum holds.

        A damaged folder is set aside under another name, so that it is neither used nor lost.
        """
        folder = self.root / digest[:16]
        if not folder.is_dir():
            return None
        manifest = _checked_manifest(folder, digest)
        if manifest is None:
            self._set_aside(folder)
            return None
        return Artifact(folder, manifest)

    def partial(self, digest: str) -> Path:
        """Where work on an artifact that is not complete is kept; gone as soon as it is."""
        return self.root / f"{digest[:16]}.partial"

    @contextlib.contextmanager
    def writing(self, digest: str, facts: dict[str, Any]) -> Iterator[Path]:
        """A fresh folder to fill; on leaving it is sealed with checksums and renamed into place.

        Args:
            digest: the name it will have.
            facts: what the manifest says besides the checksums; filled further inside the block.

        Raises:
            ArtifactError: the disk refuses.
        """
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.root))
        try:
            yield folder
            with disk_errors(self.root):
                _seal(folder, {**facts, "digest": digest, "format": FORMAT_VERSION})
                self._place(folder, self.root / digest[:16])
                shutil.rmtree(self.partial(digest), ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _place(self, folder: Path, final: Path) -> None:
        folder.chmod(0o755)
        if not final.exists():
            folder.rename(final)
            return
        with tempfile.TemporaryDirectory(prefix=".replaced-", dir=self.root) as old:
            final.rename(Path(old) / "artifact")
            folder.rename(final)

    def _set_aside(self, folder: Path) -> None:
        with disk_errors(folder):
            aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.set-aside-", dir=self.root))
            folder.rename(aside / "artifact")


def _seal(folder: Path, manifest: dict[str, Any]) -> None:
    files = {
        str(path.relative_to(folder)): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    body = {**manifest, "files": files}
    text = json.dumps({**body, "sha256": _body_sha256(body)}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _checked_manifest(folder: Path, digest: str) -> dict[str, Any] | None:
    """The manifest if it is whole, is about this digest, and every file in it has its size and checksum."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        seal = manifest.pop("sha256")
        whole = seal == _body_sha256(manifest) and manifest["digest"] == digest and manifest["format"] == FORMAT_VERSION
        return (
            manifest
            if whole and all(_holds(folder, name, about) for name, about in manifest["files"].items())
            else None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _body_sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _holds(folder: Path, name: str, about: Mapping[str, Any]) -> bool:
    path = folder / name
    return bool(path.stat().st_size == about["bytes"] and file_sha256(path) == about["sha256"])


def save_model(folder: Path, model: nn.Module, spec: ModelSpec) -> dict[str, Any]:
    """Write a float model's weights; what it returns belongs into the manifest under ``model``.

    Args:
        folder: receives ``weights.safetensors``.
        model: a network that ``build(spec)`` made, perhaps pruned.
        spec: how it was built.
    """
    save_tensors(folder / "weights.safetensors", model.state_dict())
    return {"spec": spec.model_dump(), "widths": widths(model)}


def load_model(artifact: Artifact) -> tuple[nn.Module, ModelSpec]:
    """A float model from its folder, bit-equal to the one that was saved, in eval mode; and how it was built."""
    model, spec = empty_model(artifact)
    model.load_state_dict(load_tensors(artifact.folder / "weights.safetensors"))
    return model.eval(), spec


def empty_model(artifact: Artifact) -> tuple[nn.Module, ModelSpec]:
    """The network of an artifact, of the right widths, with weights that mean nothing."""
    about = artifact.manifest["model"]
    spec = ModelSpec.model_validate(about["spec"])
    return with_widths(build(spec), about["widths"]), spec


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str] | None = None) -> None:
    """Write tensors, and perhaps a few facts, as safetensors: plain numbers, nothing that executes on loading.

    Raises:
        ArtifactError: the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    with disk_errors(path):
        try:
            save_file(plain, path, metadata=facts)
        except SafetensorError as error:
            raise OSError(None, str(error).removeprefix("Error while serializing: "), str(path)) from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors from a safetensors file.

    Raises:
        ArtifactError: the file is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(str(path), f"is no safetensors file ({error})", "delete the folder and run again") from None
