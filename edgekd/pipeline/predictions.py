"""What stages that have not run will leave: the size and the latency of their networks, from fresh weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.config.progress import Progress
from edgekd.config.target import Target
from edgekd.ondevice.machine import host_isa
from edgekd.pipeline.checks import networks
from edgekd.pipeline.pipeline import Pipeline
from edgekd.pipeline.planned import Planned
from edgekd.stages.costs import files_of
from edgekd.stages.manifests import IntegerModel, ModelManifest
from edgekd.zoo import ModelSpec, Widths, count_macs, count_params, fresh_of_widths

PROCESSES = 3


@dataclass(frozen=True)
class Prediction:
    """What a stage will leave.

    Args:
        macs, params: of its network.
        size_kb: of its file, if that is of int8.
        latency_ms: p50 of that file; None where the target is another machine.
    """

    macs: int
    params: int
    size_kb: float | None = None
    latency_ms: float | None = None


def predictions(pipeline: Pipeline, planned: Sequence[Planned], progress: Progress) -> Mapping[str, Prediction]:
    """By stage, for those to do whose widths are known before anything is trained.

    Args:
        pipeline: what is planned.
        planned: its stages.
        progress: informed about what is measured.

    Raises:
        EdgekdError: a network cannot be built, pruned, quantized or exported.
    """
    found = networks(planned, pipeline.target)
    to_do = [item for item in planned if item.artifact is None and item.name in found]
    to_do = [item for item in to_do if issubclass(item.stage.leaves, ModelManifest)]
    made: dict[str, Prediction] = {}
    for number, item in enumerate(to_do):
        progress.work("predictions", number, len(to_do))
        spec, widths = found[item.name]
        made[item.name] = _prediction(spec, widths, pipeline.target, issubclass(item.stage.leaves, IntegerModel))
    return made


def _prediction(spec: ModelSpec, widths: Widths, target: Target, is_integer: bool) -> Prediction:
    # Not with_widths: it leaves zeros, which pack as weights of few bits.
    model = fresh_of_widths(spec, widths).eval()
    macs, params = count_macs(model, spec), count_params(model)
    if not is_integer:
        return Prediction(macs, params)
    with files_of(model, spec, (), target) as files:
        latency = files.latency_ms([()], 0, PROCESSES)[0] if target.resolved_isa == host_isa() else None
        return Prediction(macs, params, files.size_bytes(()) / 1000, latency)
