"""What a CPU means for a bundle, and what a bundle must be."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.bundle.check import checked
from edgekd.bundle.deploy import measure_bundle
from edgekd.bundle.deploy.connection import Connection
from edgekd.bundle.deploy.delivery import Deployed
from edgekd.bundle.deploy.payload import read_payload
from edgekd.config.progress import Progress
from edgekd.errors import BundleError
from edgekd.ondevice.contents import sealed
from edgekd.ondevice.machine import cpu_flags, host_isa, isa_of, isa_warning, machine_name
from tests.device.bundles import content_of, model_of, write_bundle


def test_this_machines_instruction_set_is_found_as_for_a_target() -> None:
    assert isa_of(machine_name(), tuple(cpu_flags())) == host_isa()


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
        ("arm64", 8, "armv7l", "only the self-test shows whether its sums saturate with them; widths and speed were"),
        ("x86-avx2", 7, "riscv64", "which edgekd does not know: 7-bit weights saturate nowhere; widths and speed were"),
    ],
)
def test_another_device_is_warned_of_with_what_it_means(target: str, bits: int, device: str, meaning: str) -> None:
    warning = isa_warning(target, bits, device)

    assert meaning in warning
    assert f"made for {target} with {bits}-bit weights, but this CPU is {device}" in warning


def test_a_payload_is_what_the_manifest_marks_for_the_device(tmp_path: Path) -> None:
    payload = read_payload(write_bundle(tmp_path, b"model"))

    assert sorted(payload.files) == [
        "edgekd_run.py",
        "golden.npz",
        "labels/labels.txt",
        "manifest.json",
        "model.onnx",
    ]
    assert content_of(payload.files["model.onnx"]) == b"model"
    assert payload.size_bytes == sum(map(len, payload.files.values()))


def test_a_bundle_that_is_not_whole_is_not_sent(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    (bundle / "model.onnx").write_bytes(model_of(b"first_model"))

    with pytest.raises(BundleError, match=r"model\.onnx: was changed"):
        read_payload(bundle)


@pytest.mark.parametrize("name", ["edgekd_run.py", "model.onnx", "labels/labels.txt", "golden.npz"])
def test_a_file_that_is_swapped_after_the_check_is_not_sent(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path, b"model")

    def swapped(folder: Path) -> dict[str, Any]:
        manifest = checked(folder)
        (folder / name).write_bytes(model_of(b"another"))
        return manifest

    monkeypatch.setattr("edgekd.bundle.deploy.payload.checked", swapped)

    with pytest.raises(BundleError, match=rf"{name}: was changed while the bundle was read; run the same command"):
        read_payload(bundle)


def test_the_manifest_that_is_sent_is_the_one_that_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path, b"model")
    whole = (bundle / "manifest.json").read_bytes()

    def swapped(folder: Path) -> dict[str, Any]:
        manifest = checked(folder)
        write_bundle(folder, b"another")
        (folder / "model.onnx").write_bytes(model_of(b"model"))
        return manifest

    monkeypatch.setattr("edgekd.bundle.deploy.payload.checked", swapped)

    assert read_payload(bundle).files["manifest.json"] == whole != (bundle / "manifest.json").read_bytes()


def test_a_file_that_is_gone_after_the_check_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path, b"model")

    def robbed(folder: Path) -> dict[str, Any]:
        manifest = checked(folder)
        (folder / "edgekd_run.py").unlink()
        return manifest

    monkeypatch.setattr("edgekd.bundle.deploy.payload.checked", robbed)

    with pytest.raises(BundleError, match=r"edgekd_run\.py: cannot be read \(no such file"):
        read_payload(bundle)


def test_a_model_that_is_swapped_after_the_check_is_not_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(folder: Path) -> dict[str, Any]:
        manifest = checked(folder)
        (folder / "model.onnx").write_bytes(model_of(b"another"))
        return manifest

    monkeypatch.setattr("edgekd.bundle.deploy.figures.checked", swapped)
    nobody, deployed = Connection.__new__(Connection), Deployed("", None, (), {}, None, "", "")

    with pytest.raises(BundleError, match=r"model\.onnx: is truncated: 21 bytes"):
        measure_bundle(nobody, bundle, deployed, None, Progress())


def test_a_bundle_that_no_device_could_run_is_not_sent(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    body = json.loads((bundle / "manifest.json").read_text())
    del body["digest"], body["files"]["edgekd_run.py"]
    (bundle / "manifest.json").write_text(sealed(body))

    with pytest.raises(BundleError, match=r"has no edgekd_run\.py, so a device cannot run it"):
        read_payload(bundle)
