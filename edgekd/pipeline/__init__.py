"""Pipelines: read, planned, run, shipped."""

from edgekd.pipeline.pipeline import Pipeline
from edgekd.pipeline.planned import Planned

__all__ = ["Pipeline", "Planned"]
