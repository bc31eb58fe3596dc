"""ablation.json: read back as it was written, refused where it is anything else; and bundles keep it."""

import json
from pathlib import Path

import pytest

from edgekd.bundle.check import checked
from edgekd.bundle.write import add_ablation
from edgekd.config.progress import Progress
from edgekd.errors import BundleError, ReportError
from edgekd.pipeline.inventory import inventory
from edgekd.report.ablation.load import load_ablation
from edgekd.report.ablation.schema import FILE, PAGE
from edgekd.store.artifacts import Store
from tests.bundle.test_write import written
from tests.report.ablation.samples import sample_ablation


def test_an_ablation_reads_back_as_it_was_written(tmp_path: Path) -> None:
    add_ablation(tmp_path / "mobilenet", sample_ablation(), Progress())

    assert load_ablation(tmp_path / "mobilenet" / FILE) == sample_ablation()
    assert load_ablation(tmp_path / "nothing" / FILE) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not an ablation of this edgekd"),
        ("[]", "is not an ablation of this edgekd"),
        ('{"schema": 1}', "is not an ablation of this edgekd (pipeline: Field required)"),
        ("[" * 5000, "is not an ablation of this edgekd"),
    ],
)
def test_what_is_no_ablation_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(ReportError) as error:
        load_ablation(tmp_path / FILE)

    assert told in str(error.value)
    assert str(error.value).endswith("run its ablation again, or delete the file")


def test_without_a_bundle_the_folder_holds_the_ablation_alone_and_a_bundle_comes_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"

    add_ablation(folder, sample_ablation(), Progress())
    alone = sorted(path.name for path in folder.iterdir())
    written(folder)

    assert alone == [PAGE, FILE]
    assert {FILE, PAGE} <= set(checked(folder)["files"])
    assert load_ablation(folder / FILE) == sample_ablation()


def test_a_bundle_with_an_ablation_is_whole_and_a_second_one_takes_the_first_one_s_place(tmp_path: Path) -> None:
    folder, second = written(tmp_path / "bundle"), sample_ablation().model_copy(update={"seeds": [0]})

    for found in (sample_ablation(), second):
        add_ablation(folder, found, Progress())
        files = checked(folder)["files"]

    assert (files[FILE]["device"], files[PAGE]["device"]) == (False, False)
    assert load_ablation(folder / FILE) == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any.onnx", "bundle"]


def test_a_damaged_bundle_gets_its_ablation_and_is_not_taken_for_whole(tmp_path: Path) -> None:
    folder = written(tmp_path / "bundle")
    (folder / "labels.txt").write_text("other\n")

    add_ablation(folder, sample_ablation(), Progress())

    assert load_ablation(folder / FILE) == sample_ablation()
    with pytest.raises(BundleError, match=r"labels\.txt"):
        checked(folder)


def test_a_damaged_ablation_is_not_sealed_into_the_next_bundle(tmp_path: Path) -> None:
    folder = written(tmp_path / "bundle")
    add_ablation(folder, sample_ablation(), Progress())
    (folder / FILE).write_text("{")

    written(folder)

    assert not {FILE, PAGE} & set(checked(folder)["files"])


def test_what_a_killed_writer_of_an_ablation_left_is_found(tmp_path: Path) -> None:
    models, exports = tmp_path / "models", tmp_path / "exports"
    models.mkdir()
    exports.mkdir()
    add_ablation(exports / "mobilenet", sample_ablation(), Progress())
    (exports / "mobilenet").rename(exports / ".mobilenet-abcdefgh")

    (found,) = inventory(Store(models), exports)

    assert (found.path.name, found.state) == (".mobilenet-abcdefgh", "left-over")


def test_an_ablation_that_cannot_be_read_keeps_everything_from_being_collected(tmp_path: Path) -> None:
    """What it refers to is not known."""
    models, exports = tmp_path / "models", tmp_path / "exports" / "mobilenet"
    for folder in (models, exports):
        folder.mkdir(parents=True)
    (exports / FILE).write_text(json.dumps({"schema": 2}))

    with pytest.raises(ReportError, match="is not an ablation of this edgekd"):
        inventory(Store(models), exports.parent)
