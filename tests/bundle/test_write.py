"""Bundles are written whole or not at all, and keep what devices measured of the same files."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgekd.bundle import golden as golden_module
from edgekd.bundle.check import checked
from edgekd.bundle.golden import Golden, golden_of, spread
from edgekd.bundle.input import Input
from edgekd.bundle.runner import runner_source
from edgekd.bundle.write import add_device, write_bundle
from edgekd.config.progress import Progress
from edgekd.errors import ArtifactError, BundleError
from edgekd.report.schema import Report
from tests.report.samples import SHA256, sample_device, sample_report
from tests.report.test_measuring import cast_file

VERSIONS = {"opset": 20, "ir_version": 10, "onnxruntime_min": "1.18"}
GOLDEN = Golden(np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 10), np.float32), np.zeros(2), 0.1, "by hand")


def written(folder: Path, report: Report | None = None) -> Path:
    """A bundle around the smallest of files."""
    folder.parent.mkdir(exist_ok=True)
    report = report or sample_report()
    model = cast_file(folder.parent / "any.onnx", ["n", 2])
    sources = {item.id: model for item in report.models}
    write_bundle(folder, report, sources, Input(8, 1, "stretch"), GOLDEN, VERSIONS)
    return folder


def test_a_bundle_says_what_it_takes_and_what_it_was_made_for(tmp_path: Path) -> None:
    manifest = checked(written(tmp_path / "bundle"))

    assert manifest["input"] == {
        "name": "pixels",
        "dtype": "uint8",
        "layout": "NHWC",
        "height": 8,
        "width": 8,
        "channels": 1,
        "resize": "stretch",
    }
    assert manifest["recommended"] == "qat"
    assert manifest["onnxruntime_min"] == "1.18"
    assert manifest["golden"] == {"images": 2, "tolerance": 0.1, "derived": "by hand"}
    assert manifest["target"]["isa"] == sample_report().target.isa
    assert [about["file"] for about in manifest["models"] if about["id"] == "qat"] == ["model.onnx"]


def test_what_goes_to_a_device_is_what_it_needs(tmp_path: Path) -> None:
    files = checked(written(tmp_path / "bundle"))["files"]

    assert {name for name, about in files.items() if about["device"]} == {
        "model.onnx",
        "golden.npz",
        "edgekd_run.py",
        "labels.txt",
        "README.md",
    }


def test_class_names_that_a_terminal_would_obey_are_one_harmless_line_each(tmp_path: Path) -> None:
    report = sample_report()
    names = ["a\nb", "\x1b[2J", *report.data.class_names[2:]]
    evil = report.model_copy(update={"data": report.data.model_copy(update={"class_names": names})})

    lines = (written(tmp_path / "bundle", evil) / "labels.txt").read_text().splitlines()

    assert lines[:2] == ["a\\nb", "\\x1b[2J"]
    assert len(lines) == len(names)


def test_a_bundle_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    folder = written(tmp_path / "exports" / "bundle")
    before = (folder / "manifest.json").read_bytes()
    report, model = sample_report(), cast_file(tmp_path / "any.onnx", ["n", 2])

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match="no space left on device"):
        write_bundle(
            folder,
            report,
            {item.id: model for item in report.models},
            Input(8, 1, "crop"),
            GOLDEN,
            VERSIONS,
            full,
        )

    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["any.onnx", "bundle"]


@pytest.mark.slow
def test_a_device_s_figures_come_into_the_bundle_and_stay_while_its_models_do(tmp_path: Path) -> None:
    folder = written(tmp_path / "bundle")
    for device in (sample_device("pi4", 3.4), sample_device("pi5", 1.4), sample_device("pi4", 3.2)):
        add_device(folder, device, SHA256, Progress())

    again = written(folder)
    kept = [device["name"] for device in json.loads((again / "report.json").read_text())["devices"]]
    report = sample_report()
    others = [model.model_copy(update={"sha256": "0" * 64}) for model in report.models]
    other = written(folder, report.model_copy(update={"models": others}))

    assert kept == ["pi5", "pi4"]
    assert json.loads((other / "report.json").read_text())["devices"] == []
    assert not list(other.glob("device-*.json"))
    assert checked(other)


@pytest.mark.slow
def test_devices_whose_figures_come_at_once_are_all_kept(tmp_path: Path) -> None:
    folder, names = written(tmp_path / "bundle"), [f"pi{number}" for number in range(3)]
    together = threading.Barrier(len(names))

    def add(name: str) -> None:
        together.wait()
        add_device(folder, sample_device(name), SHA256, Progress())

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(add, names))

    assert sorted(device["name"] for device in json.loads((folder / "report.json").read_text())["devices"]) == names
    assert checked(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any.onnx", "bundle"]


def test_figures_of_files_that_were_exported_anew_meanwhile_are_refused_in_one_line(tmp_path: Path) -> None:
    folder, report, device = written(tmp_path / "bundle"), sample_report(), sample_device()
    teacher = report.models[0].model_copy(update={"sha256": "0" * 64})
    written(folder, report.model_copy(update={"models": [teacher, *report.models[1:]]}))
    before = (folder / "manifest.json").read_bytes()

    with pytest.raises(BundleError) as of_teacher:
        add_device(folder, device, SHA256, Progress())
    with pytest.raises(BundleError, match=r"teacher, model\.onnx: the files were exported anew"):
        add_device(folder, device, "1" * 64, Progress())

    assert str(of_teacher.value) == (
        f"{folder}: teacher: the files were exported anew while pi4 measured those before; "
        "its figures were not added: deploy again"
    )
    assert (folder / "manifest.json").read_bytes() == before


def test_figures_of_the_folder_that_one_stands_in_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written(tmp_path / "bundle"))

    add_device(Path(), sample_device(), SHA256, Progress())

    assert (tmp_path / "bundle" / "device-pi4.json").exists()


def test_the_runner_in_a_bundle_compiles_and_is_the_present_one(tmp_path: Path) -> None:
    text = (written(tmp_path / "bundle") / "edgekd_run.py").read_text()

    assert text == runner_source()
    compile(text, "edgekd_run.py", "exec")


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (3, [0, 1, 2]), (63, [i * 2 for i in range(32)])])
def test_golden_images_are_spread_evenly(count: int, expected: list[int]) -> None:
    assert spread(count, 64) == expected


def test_large_images_are_fewer() -> None:
    assert len(spread(1000, 224 * 224 * 3)) == golden_module.MOST_IMAGES
    assert len(spread(1000, 1024 * 1024 * 3)) == 2
    assert len(spread(1000, 10**9)) == 1


def test_a_file_that_this_cpu_cannot_run_as_its_target_does_is_held_against_exact_arithmetic(
    tmp_path: Path,
) -> None:
    path = cast_file(tmp_path / "any.onnx", ["n", 3])
    images = np.array([[1, 2, 200]], np.uint8)

    unable, able = (golden_of(path, images, np.zeros(1), exact_here=exact) for exact in (False, True))

    assert unable.tolerance == pytest.approx(golden_module.UNKNOWN_ROUNDING * 200)
    assert "cannot run the file as its target does" in unable.derived
    assert able.tolerance == pytest.approx(golden_module.ROUNDING * 200)
