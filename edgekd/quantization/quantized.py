"""A network with fake quantizers: calibrated, trained, folded, converted to integers."""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekd.config.schemes import FEW_BITS, INT8, Scheme, limit_of
from edgekd.errors import QuantizationError
from edgekd.quantization.batchnorm import (
    fold_batchnorm,
    let_batchnorm_learn,
    with_convolutions_before,
    with_training_batchnorm,
)
from edgekd.quantization.capture import capture, with_simple_clipping
from edgekd.quantization.layers import bits_by_layer, layer_weights, wide_layers
from edgekd.quantization.memory_format import with_planes, without_planes
from edgekd.quantization.rewrites import with_integer_operators
from edgekd.zoo import ModelSpec, example_images, fingerprint

SMALLEST_VARIANCE = 1e-12
"""That variances are divided by."""


def _torchao() -> Any:
    """What needs torchao, imported late: that takes 1.5 s, and most commands quantize nothing."""
    from edgekd.quantization import quantizer

    return quantizer


def check_quantizable(model: nn.Module, spec: ModelSpec) -> None:
    """Quantize a copy and forget it: whatever refuses does so before anything is trained.

    Args:
        model: a network of ``build(spec)``, trained or not; it stays as it is.
        spec: how it was built.

    Raises:
        QuantizationError: the network cannot be captured, given fake quantizers, or run with them.
    """
    try:
        QuantizedModel(model, spec, INT8, fingerprint(model, spec)).calibrate([example_images(spec, batch=2)])
    except QuantizationError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise QuantizationError(spec.name, f"cannot be quantized ({reason})", "leave its stage out") from None


def layers_of(model: nn.Module, spec: ModelSpec) -> dict[str, int]:
    """Weights of every layer that quantization rounds, by the layer's name, in the order of the forward pass."""
    graph = capture(model, example_images(spec, batch=2), fingerprint(model, spec))
    with_integer_operators(graph)
    with_convolutions_before(graph)
    return layer_weights(graph)


class QuantizedModel(nn.Module):
    """A float network rewritten to compute as integers will: every tensor that will be an integer is rounded to one.

    Args:
        model: the float network; it stays as it is.
        spec: how it was built.
        scheme: which integers its numbers become.
        known_as: see ``capture``.
        chosen: bits of the weights of layers by name, in the place of the scheme's.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: ModelSpec,
        scheme: Scheme,
        known_as: str = "",
        chosen: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.spec, self.scheme = spec, scheme
        graph = capture(model, example_images(spec, batch=2), known_as)
        with_integer_operators(graph)
        with_convolutions_before(graph)
        with_training_batchnorm(graph)
        self.wide = wide_layers(graph)
        self.bits = bits_by_layer(graph, scheme, self.wide, chosen)
        few = scheme.is_few or any(bits <= FEW_BITS for bits in chosen.values())
        self.graph: fx.GraphModule = _torchao().prepared(graph, self.bits, few)
        with_planes(self.graph)
        self.batchnorm_frozen = self.activations_frozen = self.training = False
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        logits: Tensor = self.graph(images)
        return logits

    def train(self, mode: bool = True) -> "QuantizedModel":
        """Training lets batch norms learn and ranges follow, unless they are frozen; evaluation changes nothing.

        On the way from training to evaluation the weights' ranges are set to what the last step made of the weights.
        """
        settle, self.training = self.training and not mode, mode
        let_batchnorm_learn(self.graph, mode and not self.batchnorm_frozen)
        self._observe(activations=mode and not self.activations_frozen, weights=mode)
        if settle:
            self.refit_weight_ranges()
        return self

    def freeze_batchnorm(self) -> None:
        """Keep the batch norms' statistics from now on, in training too."""
        self.batchnorm_frozen = True
        self.train(self.training)

    def freeze_activations(self) -> None:
        """Keep the ranges of activations from now on, in training too; those of weights go on following the weights."""
        self.activations_frozen = True
        self.train(self.training)

    def calibrate(self, images: Iterable[Tensor]) -> None:
        """Set every range from these images; weights and batch norms stay as they are."""
        self.eval()
        self._observe(activations=True, weights=True)
        with torch.no_grad():
            for batch in images:
                self(batch)
        self._observe(activations=False, weights=False)

    def correct_batchnorm(self, images: Callable[[], Iterable[Tensor]]) -> None:
        """Move every batch norm's statistics by what rounded weights move of them on these images.

        Rounding errors of weights do not cancel: they shift what a channel gives, and with few bits shrink it by some
        percent, which a deep network multiplies. Moved, not set: a few images, or images of another kind than the
        network's own, have other statistics than it learned.

        Source: Nagel et al. (2019), section 4.2 (bias correction), with the variance too.

        Args:
            images: gives the same images whenever it is called.
        """
        self.eval()
        before = self._batchnorm_statistics()
        if not before:
            return
        rounded = self._seen_statistics(images(), before, rounds=True)
        exact = self._seen_statistics(images(), before, rounds=False)
        moved = {
            name: value * (rounded[name] / exact[name].clamp(min=SMALLEST_VARIANCE))
            if name.endswith("running_var")
            else value + rounded[name] - exact[name]
            for name, value in before.items()
        }
        self._set_statistics(moved)
        # A weight is scaled by its batch norm's variance: a range that was found before that moved misleads.
        self._forget_weight_ranges()

    def _seen_statistics(
        self, images: Iterable[Tensor], before: Mapping[str, Tensor], rounds: bool
    ) -> dict[str, Tensor]:
        """The plain mean of what the batch norms see of every batch; activations are not rounded."""
        for quantizer in self._quantizers():
            quantizer.enable_fake_quant(rounds and quantizer.is_per_channel)
        self._observe(activations=False, weights=rounds)
        with torch.no_grad():
            for seen, batch in enumerate(images):
                self._forget_weight_ranges()
                let_batchnorm_learn(self.graph, True, momentum=1 / (seen + 1))
                self(batch)
        let_batchnorm_learn(self.graph, False)
        self._observe(activations=False, weights=False)
        for quantizer in self._quantizers():
            quantizer.enable_fake_quant(True)
        found = self._batchnorm_statistics()
        self._set_statistics(before)
        return found

    def _batchnorm_statistics(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.named_buffers() if "running_" in name}

    def _set_statistics(self, statistics: Mapping[str, Tensor]) -> None:
        for name, value in self.named_buffers():
            if name in statistics:
                value.copy_(statistics[name])

    @contextlib.contextmanager
    def with_bits(self, bits: Mapping[str, int]) -> Iterator[None]:
        """For a while other bits of the weights of some layers, their ranges not yet found; then all as it was.

        Args:
            bits: by layer.
        """
        changed = {layer: _torchao().weight_quantizers(self.graph)[layer] for layer in bits}
        before = {layer: copy.deepcopy(quantizer) for layer, quantizer in changed.items()}
        for layer, quantizer in changed.items():
            limit = limit_of(bits[layer])
            for module in (quantizer, quantizer.activation_post_process):
                module.quant_min, module.quant_max = -limit, limit
            quantizer.activation_post_process.reset_min_max_vals()
        try:
            yield
        finally:
            for layer, quantizer in changed.items():
                quantizer.__dict__.update(before[layer].__dict__)

    def refit_weight_ranges(self) -> None:
        """Set the ranges of the weights alone to what the weights are."""
        self._observe(activations=False, weights=True)
        with torch.no_grad():
            self(example_images(self.spec).to(next(self.parameters()).device))
        self._observe(activations=False, weights=False)

    def refit_activation_ranges(self) -> None:
        """Set every scale and zero point to what the seen minima and maxima ask for, after these were changed."""
        for quantizer in self._quantizers():
            scale, zero_point = quantizer.calculate_qparams()
            quantizer.scale.copy_(scale)
            quantizer.zero_point.copy_(zero_point)

    def _observe(self, activations: bool, weights: bool) -> None:
        for quantizer in self._quantizers():
            quantizer.enable_observer(weights if quantizer.is_per_channel else activations)

    def _forget_weight_ranges(self) -> None:
        for quantizer in self._quantizers():
            if quantizer.is_per_channel:
                quantizer.activation_post_process.reset_min_max_vals()

    def _quantizers(self) -> list[Any]:
        found: list[Any] = _torchao().quantizers_that_learn(self.graph)
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Ranges have no size until something was observed: give them the saved one first."""
        for name, module in self.named_modules():
            for key in ("min_val", "max_val"):
                saved, own = state_dict.get(f"{name}.{key}"), getattr(module, key, None)
                if isinstance(own, Tensor) and saved is not None and own.shape != saved.shape:
                    setattr(module, key, torch.empty_like(saved, device=own.device))
        found = super().load_state_dict(state_dict, strict, assign)
        # torchao's observers take a state without version numbers for an old one, and put another smallest scale in.
        for quantizer in self._quantizers():
            quantizer.activation_post_process.eps.fill_(_torchao().SCALE_FLOOR)
        return found

    def integers(self) -> fx.GraphModule:
        """The same network with integer weights and quantize/dequantize operators, batch norms folded."""
        self.eval()
        folded = copy.deepcopy(self.graph)
        without_planes(folded)
        fold_batchnorm(folded)
        converted: fx.GraphModule = _torchao().converted(folded)
        with_simple_clipping(converted)
        return converted
