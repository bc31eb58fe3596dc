"""Verify and predict: what was changed is named, nothing points outside, and torch is not needed."""

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image, ImageFile

from edgekd.bundle.bench import named_files
from edgekd.bundle.check import checked, predict, trusted_model, verify
from edgekd.errors import BundleError, ExportError
from edgekd.ondevice.contents import is_inside, sealed
from edgekd.ondevice.fields import MANIFEST
from tests.hostile import external_onnx


def reseal(bundle: Path, **changes: Any) -> None:
    """Change a manifest as an enemy would who knows how it is sealed."""
    body = json.loads((bundle / MANIFEST).read_text())
    del body["digest"]
    (bundle / MANIFEST).write_text(sealed({**body, **changes}))


@pytest.mark.slow
def test_a_bundle_as_it_was_written_passes(pristine_bundle: Path) -> None:
    found = verify(pristine_bundle)

    assert found["ok"]
    assert found["problems"] == []
    assert found["golden"]["same_top1"] == found["golden"]["images"] == 32
    assert found["golden"]["max_difference"] <= found["golden"]["tolerance"]


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(bundle: Path) -> None:
    names = sorted(path.name for path in bundle.iterdir())
    random = np.random.default_rng(0)

    assert len(names) == 11
    for name in names:
        whole = (bundle / name).read_bytes()
        for place in (0, len(whole) - 1, int(random.integers(len(whole)))):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(random.integers(8))
            (bundle / name).write_bytes(changed)
            told = told_by_verify(bundle)
            assert name in told, (name, place)
        (bundle / name).write_bytes(whole)
    assert verify(bundle)["ok"]


def told_by_verify(bundle: Path) -> str:
    """What is said of a bundle that is not whole."""
    try:
        found = verify(bundle)
    except BundleError as error:
        return str(error)
    assert not found["ok"]
    assert found["golden"] is None
    return "\n".join(found["problems"])


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "report.html", "predictions.npz", "manifest.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()

    assert name in told_by_verify(bundle)


def test_a_truncated_file_is_told_with_both_sizes(bundle: Path) -> None:
    whole = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(whole[:1000])

    assert told_by_verify(bundle) == f"model.onnx: is truncated: 1000 bytes, the manifest says {len(whole)}"


@pytest.mark.parametrize(
    ("shape", "kind", "told"),
    [
        ((2**44,), "|u1", "in 0 bytes"),
        ((0, 2**80), "|u1", "golden.npz: holds"),
        ((1,), "|O", "an array of object"),
        (None, "-" * 9000, "an array without a header"),
    ],
)
def test_golden_images_that_claim_more_than_they_hold_allocate_nothing(
    bundle: Path, shape: tuple[int, ...] | None, kind: str, told: str
) -> None:
    header = io.BytesIO()
    if shape is None:
        header.write(np.lib.format.magic(1, 0) + struct.pack("<H", len(kind)) + kind.encode())
    else:
        np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(bundle / "golden.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    content = (bundle / "golden.npz").read_bytes()
    about = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "device": True}
    reseal(bundle, files={**files, "golden.npz": about})

    with pytest.raises(BundleError) as caught:
        verify(bundle)

    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_swapped_files_are_told_as_such(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle / "apart")
    (bundle / "teacher.onnx").rename(bundle / "model.onnx")
    (bundle / "apart").rename(bundle / "teacher.onnx")

    assert told_by_verify(bundle).splitlines() == [
        "model.onnx: was swapped: it holds teacher.onnx",
        "teacher.onnx: was swapped: it holds model.onnx",
    ]


def test_a_link_in_place_of_a_file_is_refused_whatever_it_leads_to(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "labels.txt", tmp_path / "elsewhere.txt")
    (bundle / "labels.txt").symlink_to(tmp_path / "elsewhere.txt")

    assert told_by_verify(bundle) == "labels.txt: is not a regular file"


def test_a_fifo_in_place_of_a_file_does_not_hang(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()
    os.mkfifo(bundle / "labels.txt")

    assert told_by_verify(bundle) == "labels.txt: is not a regular file"


ODD: tuple[Any, ...] = (None, "", "much", -1, 2.5, 10**400, 1e308, True, [], [1], {}, {"a": 1})
"""One of each type, none of which every key may hold."""


def places(body: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a manifest: keys and numbers, from the outside in."""
    if place:
        yield place
    for key in body if isinstance(body, dict) else range(len(body)) if isinstance(body, list) else ():
        yield from places(body[key], (*place, key))


def put(body: dict[str, Any], place: tuple[Any, ...], *value: Any) -> dict[str, Any]:
    """A copy with another value in a place; without the place if none is given."""
    changed: Any = json.loads(json.dumps(body))
    group = changed
    for key in place[:-1]:
        group = group[key]
    if value:
        group[place[-1]] = value[0]
    else:
        del group[place[-1]]
    return dict(changed)


def test_whatever_a_sealed_manifest_holds_a_command_works_or_says_why_in_one_line(bundle: Path, tmp_path: Path) -> None:
    body = json.loads((bundle / MANIFEST).read_text())
    del body["digest"]
    Image.new("L", (8, 8)).save(tmp_path / "any.png")
    changes = [(place, ()) for place in places(body)] + [(place, (odd,)) for place in places(body) for odd in ODD]
    told = []

    for place, value in changes:
        (bundle / MANIFEST).write_text(sealed(put(body, place, *value)))
        try:
            verify(bundle)
            predict(bundle, [tmp_path / "any.png"])
        except BundleError as error:
            told.append(str(error))

    assert len(told) > len(changes) / 2
    assert all(len(line.splitlines()) == 1 and len(line) < 700 for line in told)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("golden", "tolerance"), (), "has no golden.tolerance, which is a number from 0 to 1e30"),
        (("golden", "tolerance"), ("much",), "golden.tolerance is 'much', not a number from 0 to 1e30"),
        (("golden", "tolerance"), (-0.1,), "golden.tolerance is -0.1, not a number from 0 to 1e30"),
        (("golden", "tolerance"), (True,), "golden.tolerance is True, not a number from 0 to 1e30"),
        (("golden",), ([1],), "golden is [1], not a group of keys"),
        (("target", "weight_bits"), ("seven",), "target.weight_bits is 'seven', not a whole number from 0 to 8"),
        (("target", "weight_bits"), (), "has no target.weight_bits, which is a whole number from 0 to 8"),
        (("target", "threads"), (4096,), "target.threads is 4096, not a whole number from 1 to 256"),
        (("input", "height"), (0,), "input.height is 0, not a whole number from 1 to 1024"),
        (("input", "width"), (1025,), "input.width is 1025, not a whole number from 1 to 1024"),
        (("input", "dtype"), ("int8",), "input.dtype is 'int8', not uint8 or float32"),
        (("input", "channels"), (257,), "input.channels is 257, not a whole number from 1 to 256"),
        (("input", "resize"), ("warp",), "input.resize is 'warp', not crop or stretch"),
        (("classes",), (["a", 1],), "classes is ['a', 1], not a list of texts"),
        (("onnxruntime_min",), ("1; reboot",), "onnxruntime_min is '1; reboot', not a version like 1.18"),
        (("files", "labels.txt", "device"), (1,), "files.labels.txt.device is 1, not true or false"),
        (("files", "labels.txt", "sha256"), ("z" * 99,), "files.labels.txt.sha256 is 'zzz"),
        (("models", 0, "id"), (), "has no models[0].id, which is a text"),
    ],
)
def test_a_key_that_holds_something_else_is_named_with_what_was_found_and_what_it_should_be(
    bundle: Path, place: tuple[Any, ...], value: tuple[Any, ...], told: str
) -> None:
    body = json.loads((bundle / MANIFEST).read_text())
    del body["digest"]
    (bundle / MANIFEST).write_text(sealed(put(body, place, *value)))

    with pytest.raises(BundleError) as caught:
        verify(bundle)
    ended = subprocess.run(
        [sys.executable, bundle / "edgekd_run.py", "--selftest"], capture_output=True, text=True, check=False
    )

    assert told in str(caught.value)
    assert str(caught.value).endswith("; take the bundle from where it was made")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert told in ended.stderr


def test_golden_images_or_classes_that_do_not_fit_are_told(bundle: Path, tmp_path: Path) -> None:
    body = json.loads((bundle / MANIFEST).read_text())
    Image.new("L", (8, 8)).save(tmp_path / "any.png")

    reseal(bundle, input={**body["input"], "height": 9})
    with pytest.raises(BundleError, match=r"golden\.npz: holds uint8 of shape \(32, 8, 8, 1\) as images, not uint8 of"):
        verify(bundle)
    with pytest.raises(BundleError, match=r"does not run on uint8 of shape \(1, 9, 8, 1\)"):
        predict(bundle, [tmp_path / "any.png"])
    reseal(bundle, input=body["input"], classes=["only one"])
    with pytest.raises(BundleError, match=r"golden\.npz: holds float32 of shape \(32, 10\) as logits"):
        verify(bundle)
    with pytest.raises(BundleError, match=r"names 1 classes, but model\.onnx gives logits of shape \(10,\)"):
        predict(bundle, [tmp_path / "any.png"])


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "C:\\x", "a\\b", "", ".", "a//b", "x\n"])
def test_nothing_in_a_manifest_points_outside(bundle: Path, name: str) -> None:
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    reseal(bundle, files={**files, name: files["labels.txt"]})

    with pytest.raises(BundleError, match="which is not a file of the bundle"):
        verify(bundle)


def test_every_model_that_a_manifest_names_is_one_of_its_files(bundle: Path) -> None:
    reseal(bundle, models=[{"id": "qat", "file": "../../secret.onnx", "precision": "int8"}])

    with pytest.raises(BundleError, match=r"names '../../secret\.onnx', which is not one of its files"):
        checked(bundle)


def test_a_manifest_from_the_future_is_told_as_such(bundle: Path) -> None:
    reseal(bundle, format=2, files="of another kind")

    with pytest.raises(BundleError, match=r"has format 2, newer than 1, which is known here; update edgekd"):
        verify(bundle)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"format": 1}', '{"format": "1"}', "[" * 100_000, '{"format": 1e999}', "\x00"),
        *('{"format": true}', '{"format": 1, "more": NaN}', f'{{"format": 1, "more": {"[" * 900}{"]" * 900}}}'),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text)

    with pytest.raises(BundleError) as caught:
        verify(bundle)

    assert "\n" not in str(caught.value)
    assert MANIFEST in str(caught.value)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json; name a folder below exports/"):
        verify(tmp_path)


def test_other_golden_answers_are_told_though_every_checksum_holds(bundle: Path) -> None:
    """Whoever changes the model and the manifest together is found by the model's answers."""
    teacher = json.loads((bundle / MANIFEST).read_text())["files"]["teacher.onnx"]
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    shutil.copy(bundle / "teacher.onnx", bundle / "model.onnx")
    reseal(bundle, files={**files, "model.onnx": {**teacher, "device": True}}, golden={"tolerance": 1e-4})

    found = verify(bundle)

    assert not found["ok"]
    assert "logits differ from the recorded ones by up to" in found["problems"][-1]


def test_a_model_that_would_open_other_files_is_refused_though_every_checksum_holds(bundle: Path) -> None:
    model = external_onnx("../../secret.bin", hidden=False)
    (bundle / "model.onnx").write_bytes(model)
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    about = {"sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model), "device": True}
    reseal(bundle, files={**files, "model.onnx": about})

    asked = (verify, lambda folder: predict(folder, []), lambda folder: named_files([folder]).__enter__())
    for ask in asked:
        with pytest.raises(ExportError, match=r"keeps the weight 'w' in another file"):
            ask(bundle)


@pytest.mark.parametrize(
    ("kind", "gives", "size", "told"),
    [
        ("Cast", TensorProto.FLOAT, 8, "gives logits of shape"),
        ("Cast", TensorProto.FLOAT, 9, r"does not run on uint8 of shape \(\d+, 8, 8, 1\)"),
        ("Shape", TensorProto.INT64, 8, "gives no floats for each image"),
    ],
)
def test_a_model_of_another_kind_is_one_line_though_every_checksum_holds(
    bundle: Path, tmp_path: Path, kind: str, gives: int, size: int, told: str
) -> None:
    operator = helper.make_node(kind, ["pixels"], ["logits"])
    if kind == "Cast":
        operator.attribute.append(helper.make_attribute("to", gives))
    ends = [
        helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, 1]),
        helper.make_tensor_value_info("logits", gives, None),
    ]
    graph = helper.make_graph([operator], "other", [ends[0]], [ends[1]])
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    (bundle / "model.onnx").write_bytes(model)
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    about = {"sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model), "device": True}
    reseal(bundle, files={**files, "model.onnx": about})
    Image.new("L", (8, 8)).save(tmp_path / "any.png")

    for ask in (verify, lambda folder: predict(folder, [tmp_path / "any.png"])):
        with pytest.raises(BundleError, match=told) as caught:
            ask(bundle)
        assert len(str(caught.value).splitlines()) == 1


def test_the_model_that_ships_is_looked_into_even_where_the_manifest_lists_none(bundle: Path) -> None:
    model = external_onnx("../../secret.bin", hidden=False)
    (bundle / "model.onnx").write_bytes(model)
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    about = {"sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model), "device": True}
    reseal(bundle, files={**files, "model.onnx": about}, models=[])

    with pytest.raises(ExportError, match=r"keeps the weight 'w' in another file"):
        verify(bundle)


def test_a_model_that_is_swapped_after_the_check_is_not_opened(bundle: Path) -> None:
    manifest = checked(bundle)
    shutil.copy(bundle / "teacher.onnx", bundle / "model.onnx")

    with pytest.raises(BundleError, match=r"model\.onnx: was changed while the bundle was read"):
        trusted_model(bundle, manifest)


def test_what_is_measured_is_what_was_checked(bundle: Path) -> None:
    """The files that other processes open are private copies, whatever lies in the bundle by then."""
    whole = (bundle / "model.onnx").read_bytes()

    with named_files([bundle, bundle / "teacher.onnx"]) as files:
        (bundle / "model.onnx").write_bytes(b"something else")
        assert [(name, path.name) for name, path in files] == [
            (f"{checked_name(bundle)}/{recommended(bundle)}", "model.onnx"),
            ("teacher.onnx", "teacher.onnx"),
        ]
        assert files[0][1].read_bytes() == whole
    assert not files[0][1].exists()


def checked_name(bundle: Path) -> str:
    return str(json.loads((bundle / MANIFEST).read_text())["name"])


def recommended(bundle: Path) -> str:
    """Its tiny training may gain nothing over calibration on some CPU."""
    return str(json.loads((bundle / MANIFEST).read_text())["recommended"])


def test_a_model_that_needs_a_newer_runtime_is_told_with_the_command(bundle: Path) -> None:
    reseal(bundle, onnxruntime_min="99.0")

    assert "the model needs 99.0; python3 -m pip install 'onnxruntime>=99.0'" in told_by_verify_of_version(bundle)


def told_by_verify_of_version(bundle: Path) -> str:
    return "\n".join(verify(bundle)["problems"])


def test_a_picture_of_any_size_is_classified_as_its_pixels_are(bundle: Path, tmp_path: Path) -> None:
    """A golden image, saved as PNG, gets the class of its recorded logits; enlarged, still a sum of 1."""
    golden = np.load(bundle / "golden.npz")
    Image.fromarray(golden["images"][0, ..., 0]).save(tmp_path / "digit.png")
    Image.fromarray(golden["images"][0, ..., 0]).resize((80, 50)).convert("RGB").save(tmp_path / "large.jpg")

    small, large = predict(bundle, [tmp_path / "digit.png", tmp_path / "large.jpg"], top=10)

    logits = golden["logits"][0]
    shares = np.exp(logits) / np.exp(logits).sum()
    assert small["classes"][0]["name"] == str(logits.argmax())
    assert small["classes"][0]["probability"] == pytest.approx(shares.max(), abs=0.02)
    assert sum(item["probability"] for item in large["classes"]) == pytest.approx(1, abs=1e-4)


def test_what_is_no_picture_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")

    with pytest.raises(BundleError, match=r"text\.png: cannot be read as an image"):
        predict(bundle, [tmp_path / "text.png"])


def test_a_picture_that_is_too_large_for_the_memory_is_told_as_such(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "any.png")

    def short(image: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", short)

    with pytest.raises(BundleError, match=r"any\.png: cannot be decoded \(memory is short\); free memory"):
        predict(bundle, [tmp_path / "any.png"])


@pytest.mark.slow
def test_verify_and_predict_need_no_torch(bundle: Path, tmp_path: Path) -> None:
    """A module named torch that cannot be imported stands in its place."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    golden = np.load(bundle / "golden.npz")
    Image.fromarray(golden["images"][0, ..., 0]).save(tmp_path / "digit.png")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from edgekd.cli import main; main()"

    picture, model = tmp_path / "digit.png", bundle / "model.onnx"
    for arguments in (("verify", bundle), ("predict", bundle, picture), ("bench", model)):
        ended = subprocess.run(
            [sys.executable, "-c", program, tmp_path, *arguments], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_names_inside_are_told_from_those_outside() -> None:
    assert all(map(is_inside, ["a", "a/b", "a.b-c_d", ".hidden", "日本"]))
    assert not any(map(is_inside, ["..", "a/..", "./a", "a/", "/a", "a\x00b", "\x1b[2J"]))
