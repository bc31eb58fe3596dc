"""A small chain for tests: digits at 8 pixels, ResNet-8."""

import textwrap
from pathlib import Path

YAML = """
    name: small
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: resnet8, epochs: 4}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: distill, epochs: 3}
      - {stage: qat, epochs: 2}
      - {stage: export}
    budget: {accuracy_drop: 0.9, size_ratio: 0.5}
"""

TINY = """
    name: tiny
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 3, batch_size: 256}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: distill, epochs: 3, batch_size: 256}
      - {stage: qat, epochs: 2, batch_size: 256}
      - {stage: export, models: [teacher, distill]}
    budget: {accuracy_drop: 0.9}
"""
"""The whole chain on a network of three layers: a few seconds."""


def write_pipeline(folder: Path, text: str = YAML) -> Path:
    """The pipeline as a file."""
    path = folder / "small.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path
