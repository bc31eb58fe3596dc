"""Artifacts for tests, as stages leave them."""

from torch import nn

from edgekd.stages.manifests import ExportedFiles, Facts, FloatModel, Network, Size, StageManifest, manifest_of
from edgekd.store.artifacts import Artifact, Store
from edgekd.zoo import ModelSpec


def facts_of(name: str, parents: dict[str, str] | None = None) -> Facts:
    """What decided an artifact, of which nothing matters but who made it from what."""
    return Facts(settings={}, version=1, parents=parents or {}, data={}, seed=0, target={}, id=name, stage=name)


def nothing_exported(
    name: str = "export", parents: dict[str, str] | None = None, environment: dict[str, str] | None = None
) -> ExportedFiles:
    """The least that a stage can leave."""
    return ExportedFiles(facts=facts_of(name, parents), environment=environment or {}, seconds=0.0, exported=[])


def stored_model(store: Store, digest: str, model: nn.Module, spec: ModelSpec) -> Artifact:
    """A float network in a store."""
    made = FloatModel(
        facts=facts_of("teacher"),
        environment={},
        seconds=0.0,
        model=Network.of(model, spec),
        size=Size(macs=0, params=0),
    )
    with store.writing(digest, made.model_dump()) as folder:
        FloatModel.write(model, folder)
    found = store.find(digest)
    assert found is not None
    return found


def loaded(artifact: Artifact) -> tuple[nn.Module, ModelSpec]:
    """A float network of a store, and how it was built."""
    made = manifest_of(artifact, FloatModel)
    return made.load(artifact), made.model.spec


def said(artifact: Artifact) -> StageManifest:
    """What a stage's artifact says of itself."""
    return manifest_of(artifact, StageManifest)
