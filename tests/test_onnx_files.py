"""ONNX files from elsewhere open no other file."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.bundle.untrusted import check_untrusted
from edgekd.errors import ExportError
from edgekd.onnx_export import export_onnx, ort
from edgekd.quantization import float_graph
from tests.hostile import external_onnx
from tests.tiny import SPEC, tiny_convnet


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "in a branch"])
@pytest.mark.parametrize("place", ["beside.bin", "../outside.bin", "/etc/hostname", ""])
def test_a_file_that_has_others_opened_is_refused(tmp_path: Path, place: str, hidden: bool) -> None:
    path = tmp_path / "given.onnx"
    path.write_bytes(external_onnx(place, hidden))

    with pytest.raises(ExportError) as caught:
        check_untrusted(path)

    assert f"{path}: keeps the weight 'w' in another file ({place!r}); put all weights into one" in str(caught.value)


def test_a_whole_file_is_given_back_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    export_onnx(float_graph(tiny_convnet(8), SPEC), SPEC, path)

    found = check_untrusted(path)

    assert found == path.read_bytes()
    assert ort.predict(ort.session(found), np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, SPEC.num_classes)


@pytest.mark.parametrize("content", [None, b"no model", b"ORTM"], ids=["missing", "text", "another format"])
def test_what_is_no_onnx_file_is_refused_unopened(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "given.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ExportError, match=r"given\.onnx: (cannot be read|is not an ONNX file)"):
        check_untrusted(path)
