"""ONNX Runtime: the saturation probe against integer arithmetic, refused files."""

from pathlib import Path

import pytest

from edgekd.config.schemes import INT8
from edgekd.errors import ExportError
from edgekd.ondevice.machine import host_isa
from edgekd.onnx_export import ort


def test_the_probe_is_exact_with_seven_bit_weights_on_every_cpu() -> None:
    assert ort.probe(weight=63) == ort.probe_answer(63) == round(16 * 9 * 255 * 63 / 65536)


def test_the_probe_finds_saturation_exactly_where_the_isa_says_seven_bits() -> None:
    assert ort.saturates() == (not INT8.exact_on(host_isa()))


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")

    with pytest.raises(ExportError, match=r"broken\.onnx: ONNX Runtime \S+ refuses it") as caught:
        ort.session(path)

    assert "\n" not in str(caught.value)
