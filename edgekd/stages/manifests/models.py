"""Artifacts that hold a network: in floats, or with integer ranges."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, fx, nn

from edgekd.config.schemes import Scheme, scheme_named
from edgekd.errors import ArtifactError
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.stages.manifests.base import Part, StageManifest
from edgekd.store.artifacts import Artifact
from edgekd.store.tensors import load_tensors, save_tensors
from edgekd.zoo import ModelSpec, build, fingerprint, widths, with_widths

Kept = Literal["qat", "ptq"]
"""Which integers a quantizing stage kept: the trained ones, or the calibrated ones."""


class Network(Part):
    """How a network is built again: its architecture, and what pruning left of every layer."""

    spec: ModelSpec
    widths: dict[str, dict[str, int]]

    @classmethod
    def of(cls, model: nn.Module, spec: ModelSpec) -> "Network":
        return cls(spec=spec, widths=widths(model))

    def empty(self) -> nn.Module:
        """The network, with weights that mean nothing."""
        return with_widths(build(self.spec), self.widths)


@dataclass(frozen=True)
class Exportable:
    """A model on its way into a file.

    Args:
        id: the file's name without ``.onnx``.
        stage: id of the stage that made the model.
        role: model, or calibration: only there to show what another scheme does.
        answer: the torch model that the file must agree with.
        graph: what is exported.
        scheme: of its integers; None where it holds floats.
        kept: which its quantizing stage kept.
        calibrated: are its integers the calibrated ones?
    """

    id: str
    stage: str
    role: Literal["model", "calibration"]
    spec: ModelSpec
    answer: Callable[[Tensor], Tensor]
    graph: fx.GraphModule
    scheme: Scheme | None = None
    kept: Kept | None = None
    calibrated: bool = False


class Size(Part):
    """What a network costs for one image."""

    macs: int
    params: int


class LayerWidth(Part):
    """One layer's channels before and after, and why they stayed as they are."""

    layer: str
    before: int
    after: int
    note: str


class Pruning(Part):
    """What was removed: channels by layer, and MACs and parameters before and after."""

    widths: list[LayerWidth]
    macs: tuple[int, int]
    params: tuple[int, int]
    pruning_ratio: float


class Trial(Part):
    """One value of a setting, and the student's accuracy on val with it, 0..1; balanced where data.balance is."""

    value: float
    val_accuracy: float


class Search(Part):
    """How a setting was chosen: by the student's accuracy on val after short trainings.

    Args:
        epochs: of each.
        tried: in order.
    """

    setting: str
    epochs: int
    tried: list[Trial]
    chosen: float

    @property
    def in_words(self) -> str:
        found = ", ".join(f"{trial.value:g}: {trial.val_accuracy:.4f}" for trial in self.tried)
        each = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''} each"
        return f"{self.setting.replace('_', ' ')} {self.chosen:g} teaches best ({found} on val, {each})"


class ModelManifest(StageManifest):
    """A network of any kind."""

    noun: ClassVar[str] = "model"

    model: Network
    val_accuracy: float | None = None

    @property
    def accuracy(self) -> float | None:
        return self.history.best_accuracy if self.history else self.val_accuracy

    def for_export(self, name: str, artifact: Artifact) -> Iterator[Exportable]:
        """What of it is written as ONNX.

        Args:
            name: of the stage that made it.
            artifact: this one.
        """
        raise NotImplementedError


class FloatModel(ModelManifest):
    """A network in floats: ``weights.safetensors``; of a pruned one ``channels.json`` says which channels stayed.

    Args:
        searches: how settings were chosen.
        kept_epochs: of its training, whose weights lie in ``epoch-5.safetensors`` and so on.
    """

    noun: ClassVar[str] = "float model"
    WEIGHTS: ClassVar[str] = "weights.safetensors"
    CHANNELS: ClassVar[str] = "channels.json"

    kind: Literal["float model"] = "float model"
    size: Size
    pruning: Pruning | None = None
    searches: list[Search] = Field(default_factory=list)
    kept_epochs: list[int] = Field(default_factory=list)

    @property
    def told(self) -> list[str]:
        return [*(search.in_words for search in self.searches), *super().told]

    @classmethod
    def write(cls, model: nn.Module, folder: Path) -> None:
        """The network's tensors; ``load`` reads them."""
        save_tensors(folder / cls.WEIGHTS, model.state_dict())

    @classmethod
    def write_epoch(cls, epoch: int, state: Mapping[str, Tensor], folder: Path) -> None:
        """The network's tensors after an epoch; ``load`` reads them."""
        save_tensors(folder / _of_epoch(epoch), state)

    def load(self, artifact: Artifact, epoch: int | None = None) -> nn.Module:
        """The network, bit-equal to the one that was saved, in eval mode; ``epoch``: as it was after that one."""
        model = self.model.empty()
        beside = epoch is not None and epoch in self.kept_epochs
        model.load_state_dict(load_tensors(artifact, _of_epoch(epoch) if beside else self.WEIGHTS))
        return model.eval()

    def stayed(self, artifact: Artifact) -> dict[str, list[int]] | None:
        """Layer -> the numbers that its channels had before pruning, where it lost some; None: an older edgekd's."""
        if self.pruning is None:
            return {}
        listed = self.CHANNELS in artifact.manifest["files"]
        return dict(json.loads(artifact.read(self.CHANNELS))) if listed else None

    def for_export(self, name: str, artifact: Artifact) -> Iterator[Exportable]:
        model = self.load(artifact)
        graph = float_graph(model, self.model.spec, fingerprint(model, self.model.spec))
        yield Exportable(name, name, "model", self.model.spec, model, graph)


def _of_epoch(epoch: int | None) -> str:
    return f"epoch-{epoch}.safetensors"


class LayerBits(Part):
    """What one layer loses with few bits: by bits, how much the cross-entropy on val rises, in nats."""

    layer: str
    weights: int
    loss: dict[int, float]


class Quantized(Part):
    """What a quantizing stage kept, and what was reached on val, 0..1; ``qat``: None where nothing was trained.

    Args:
        scheme: by name.
        chosen: bits of the layers that have others than the scheme's.
        sensitivity: what each layer loses with few bits, where that was measured.
    """

    scheme: str
    chosen: dict[str, int] = Field(default_factory=dict)
    sensitivity: list[LayerBits] = Field(default_factory=list)
    kept: Kept
    ptq_val_accuracy: float
    qat_val_accuracy: float | None


class IntegerModel(ModelManifest):
    """A network with integer ranges: ``weights.safetensors``, and ``ptq.safetensors`` where it was trained too."""

    noun: ClassVar[str] = "integer model"

    kind: Literal["integer model"] = "integer model"
    quantized: Quantized

    @property
    def scheme(self) -> Scheme:
        return scheme_named(self.quantized.scheme)

    @property
    def told(self) -> list[str]:
        ptq, qat = self.quantized.ptq_val_accuracy, self.quantized.qat_val_accuracy
        if self.quantized.kept == "qat" or qat is None:
            return super().told
        figures = f"{ptq:.4f} on val, the best trained epoch {qat:.4f}"
        in_vain = f"training did not beat calibration alone (PTQ {figures}): the calibrated model was kept"
        return [*super().told, in_vain]

    def restored(self, artifact: Artifact, weights: str, scheme: Scheme) -> QuantizedModel:
        """The network from one of its files; in another scheme than its own, weights are ranged anew."""
        network, spec = self.model.empty(), self.model.spec
        model = QuantizedModel(network, spec, scheme, fingerprint(network, spec), self.quantized.chosen)
        try:
            model.load_state_dict(load_tensors(artifact, f"{weights}.safetensors"))
        except RuntimeError:
            problem = "holds ranges of another graph of its network than this edgekd makes"
            raise ArtifactError(str(artifact.folder), problem, "delete the folder and run again") from None
        model.eval()
        if scheme != self.scheme:
            model.refit_weight_ranges()
        return model

    def for_export(self, name: str, artifact: Artifact) -> Iterator[Exportable]:
        """The model that was kept, its calibrated twin where that is another, and that in the other schemes.

        Names that are made up here hold a dot, which no stage's id does.
        """
        calibrated = "weights"
        if self.quantized.kept == "qat":
            trained = self._exportable(name, name, "model", self.restored(artifact, "weights", self.scheme))
            yield replace(trained, calibrated=False)
            calibrated = "ptq"
        twin = name if self.quantized.qat_val_accuracy is None else f"{name}.ptq"
        yield self._exportable(twin, name, "model", self.restored(artifact, calibrated, self.scheme))
        for other in self.scheme.others:
            model = self.restored(artifact, calibrated, other)
            yield self._exportable(other.calibrated_id(name), name, "calibration", model)

    def _exportable(
        self, name: str, stage: str, role: Literal["model", "calibration"], model: QuantizedModel
    ) -> Exportable:
        kept = self.quantized.kept
        return Exportable(name, stage, role, model.spec, model, model.integers(), model.scheme, kept, calibrated=True)
