"""Manifests from before they had a kind, as those of today say it."""

from typing import Any

from edgekd.config.schemes import INT8, SCHEMES


def upgraded(plain: dict[str, Any]) -> dict[str, Any]:
    """A manifest as it is read today; one that says its kind stays as it is."""
    if "kind" in plain:
        return plain
    if "exported" in plain:
        return {**plain, "kind": "exported files", "exported": [_file(about) for about in plain["exported"]]}
    if "quantized" in plain:
        quantized = {key: value for key, value in plain["quantized"].items() if key != "weight_bits"}
        scheme = _scheme(plain["quantized"]["weight_bits"])
        return {**plain, "kind": "integer model", "quantized": {**quantized, "scheme": scheme}}
    return {**plain, "kind": "float model" if "model" in plain else "measurements"}


def _file(about: dict[str, Any]) -> dict[str, Any]:
    bits = about["weight_bits"]
    kept = {key: value for key, value in about.items() if key not in ("weight_bits", "precision")}
    return {**kept, "scheme": None if bits is None else _scheme(bits)}


def _scheme(bits: int) -> str:
    return next((scheme.name for scheme in SCHEMES if scheme.weight_bits == bits), INT8.name)
