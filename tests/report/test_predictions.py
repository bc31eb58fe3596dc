"""predictions.npz: what is written reads back, and nothing else is read."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.errors import ReportError
from edgekd.ondevice.arrays import MOST_ARRAY_BYTES
from edgekd.report.predictions import read_predictions, write_predictions

CHOSEN = {
    "teacher": torch.tensor([0, 1, 2, 1]),
    "labels": torch.tensor([0, 1, 1, 1]),
    "file": torch.tensor([2, 2, 2, 2]),
}
LABELS = torch.tensor([0, 1, 2, 2])


def npz(path: Path, **arrays: object) -> Path:
    """An archive as numpy writes it; ``__`` in a name stands for a slash."""
    np.savez(path, **{name.replace("__", "/"): np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    return path


def test_what_is_written_reads_back_whatever_the_models_are_called(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", CHOSEN, LABELS)

    found = read_predictions(tmp_path / "p.npz")

    assert found.labels.tolist() == LABELS.tolist()
    assert {name: classes.tolist() for name, classes in found.chosen.items()} == {
        name: classes.tolist() for name, classes in CHOSEN.items()
    }
    assert found.right("teacher").tolist() == [True, True, True, False]


def test_numpy_opens_the_file_without_pickle(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", CHOSEN, LABELS)

    with np.load(tmp_path / "p.npz", allow_pickle=False) as found:
        assert found["models/teacher"].tolist() == [0, 1, 2, 1]
        assert found["labels"].dtype == np.uint8


@pytest.mark.parametrize(("classes", "kind"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_classes_take_the_smallest_type_that_holds_them(tmp_path: Path, classes: int, kind: type) -> None:
    write_predictions(tmp_path / "p.npz", {"a": torch.tensor([classes])}, torch.tensor([1]))

    found = read_predictions(tmp_path / "p.npz")

    assert found.chosen["a"].dtype == kind
    assert found.chosen["a"].tolist() == [classes]


def test_the_same_classes_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_predictions(tmp_path / "one.npz", CHOSEN, LABELS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_predictions(tmp_path / "two.npz", CHOSEN, LABELS)

    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"models__a": [1]}, "it has no labels"),
        ({"labels": np.array([1], np.uint8), "models__a": np.array([1, 2], np.uint8)}, "its arrays differ in length"),
        (
            {"labels": np.array([1], np.uint8), "other": np.array([1], np.uint8)},
            "'other.npy' is not an array of a model",
        ),
        ({"labels": np.array([1], np.int64)}, "an array of int64"),
        ({"labels": np.array([1], np.float32)}, "an array of float32"),
        ({"labels": np.array([1], np.uint64)}, "an array of uint64"),
        ({"labels": np.array([[1]], np.uint8)}, "shape (1, 1)"),
        ({"labels": np.array([print], dtype=object)}, "an array of object"),
    ],
)
def test_any_other_array_is_refused_in_one_line(tmp_path: Path, arrays: dict[str, object], told: str) -> None:
    path = npz(tmp_path / "p.npz", **arrays)

    with pytest.raises(ReportError) as refused:
        read_predictions(path)

    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("labels.npy", "w") as member,
    ):
        for _ in range(MOST_ARRAY_BYTES // 2**20 + 1):
            member.write(bytes(2**20))

    with pytest.raises(ReportError, match="more than"):
        read_predictions(tmp_path / "p.npz")


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("labels.npy", header.getvalue())

    with pytest.raises(ReportError, match="in 0 bytes"):
        read_predictions(tmp_path / "p.npz")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no such file.*run the pipeline again"):
        read_predictions(tmp_path / "none.npz")


def test_a_damaged_byte_gives_an_error_in_one_line_or_other_predictions(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", CHOSEN, LABELS)
    whole, damaged, refused = (tmp_path / "p.npz").read_bytes(), tmp_path / "d.npz", 0
    for position, value in enumerate(whole):
        damaged.write_bytes(whole[:position] + bytes([value ^ 0xFF]) + whole[position + 1 :])
        try:
            read_predictions(damaged)
        except ReportError:
            refused += 1
    for length in range(0, len(whole), 7):
        damaged.write_bytes(whole[:length])
        with pytest.raises(ReportError):
            read_predictions(damaged)

    assert refused > len(whole) / 3
