"""Results of every kind of stage stay what they were for as long as its VERSION does."""

import json
from typing import Any

import pytest

from tests.stages.golden import FILE, kinds, results

ROUNDING = 0.01
"""Relative: other vector instructions add in another order, which a few steps of training make more of."""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return results()


def test_every_kind_of_stage_has_a_golden_result() -> None:
    assert set(json.loads(FILE.read_text(encoding="utf-8"))) == set(kinds())


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_result_moves_only_with_its_stage_s_version(kind: str, found: dict[str, dict[str, Any]]) -> None:
    """Where it was meant to move: raise the stage's VERSION, then ``python -m tests.stages.golden``."""
    golden = json.loads(FILE.read_text(encoding="utf-8"))[kind]

    assert golden["version"] == found[kind]["version"]
    assert found[kind]["figures"] == pytest.approx(golden["figures"], rel=ROUNDING, abs=1e-3)
