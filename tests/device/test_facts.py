"""What a CPU means for a bundle, and what a bundle must be."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from edgekd.device.facts import isa_of
from edgekd.device.payload import read_payload
from edgekd.errors import DeviceError
from edgekd.ondevice.machine import cpu_flags, host_isa, isa_warning
from tests.device.bundles import write_bundle
from tests.device.conftest import refused


def test_this_machines_instruction_set_is_found_as_for_a_target() -> None:
    assert isa_of(platform.machine(), tuple(cpu_flags())) == host_isa()


@pytest.mark.parametrize("isa", ["x86-avx2", "x86-vnni", "arm64"])
def test_the_right_device_needs_no_warning(isa: str) -> None:
    assert isa_warning(isa, 7 if isa == "x86-avx2" else 8, isa) == ""


@pytest.mark.parametrize(
    ("target", "bits", "device", "meaning"),
    [
        ("x86-vnni", 8, "x86-avx2", "its sums SATURATE, accuracy is LOST; export again with target.isa: x86-avx2"),
        ("arm64", 8, "x86-avx2", "its sums SATURATE, accuracy is LOST"),
        ("x86-avx2", 7, "x86-vnni", "a bit of precision is given away"),
        ("x86-avx2", 7, "arm64", "a bit of precision is given away"),
        ("x86-vnni", 8, "arm64", "speed were chosen and measured for x86-vnni"),
        ("arm64", 8, "armv7l", "speed were chosen and measured for arm64"),
    ],
)
def test_another_device_is_warned_of_with_what_it_means(target: str, bits: int, device: str, meaning: str) -> None:
    warning = isa_warning(target, bits, device)

    assert meaning in warning
    assert f"made for {target} with {bits}-bit weights, but this CPU is {device}" in warning


def test_a_payload_is_what_the_manifest_marks_for_the_device(tmp_path: Path) -> None:
    payload = read_payload(write_bundle(tmp_path, b"model"))

    assert sorted(payload.files) == ["edgekd_run.py", "labels/labels.txt", "manifest.json", "model.onnx"]
    assert payload.files["model.onnx"] == b"model"
    assert payload.size_bytes == sum(map(len, payload.files.values()))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "format 2, 1 is known"),
        ({"digest": "../.."}, "digest is not 64 hexadecimal digits"),
        ({"files": []}, "is not understood"),
        ({"target": {"isa": "arm64"}}, "is not understood: KeyError: 'weight_bits'"),
        ({"files": {"gone.onnx": {"device": True, "sha256": "", "size_bytes": 0}}}, "cannot be read: No such file"),
        ({"files": {"../x": {"device": True, "sha256": "", "size_bytes": 0}}}, "lies outside the bundle"),
        ({"files": {"model.onnx": {"device": True, "sha256": "", "size_bytes": 5}}}, "is not the file that"),
        ({"files": {}}, "has no edgekd_run.py"),
    ],
)
def test_a_bundle_that_is_none_is_told(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "x").touch()
    manifest = bundle / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))

    with pytest.raises(DeviceError, match=problem) as caught:
        read_payload(bundle)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with refused("is no bundle", where=str(tmp_path)):
        read_payload(tmp_path)
