"""Mutated files: one line each or a result; no traceback, crash or hang, and no code run. More: benchmarks.hostile."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import FAILURES, Case, file_cases, fill, tried, yaml_cases

SECONDS = 60


def failures(cases: Iterator[Case], folder: Path) -> tuple[Counter[str], list[str]]:
    """How many ended how, and all that must not be."""
    kinds, told = Counter[str](), []
    for case, outcome, _ in tried(cases, folder, SECONDS):
        kinds[outcome.kind] += 1
        if outcome.kind in FAILURES:
            told.append(f"{case.made} {case.ending}: {outcome.kind}: {outcome.words}")
    return kinds, told


@pytest.mark.slow
def test_mutated_pipeline_files_are_refused_in_one_line_or_run_nothing(tmp_path: Path) -> None:
    fill(tmp_path)

    kinds, told = failures(yaml_cases(120, 1, tmp_path), tmp_path)

    assert told == []
    assert kinds["refused"] > 50


@pytest.mark.slow
def test_mutated_models_and_images_are_refused_in_one_line_or_read(tmp_path: Path) -> None:
    kinds, told = failures(file_cases(150, 1, tmp_path), tmp_path)

    assert told == []
    assert kinds["refused"] > 90
    assert kinds["fine"] > 3
