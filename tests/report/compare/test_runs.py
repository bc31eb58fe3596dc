"""Exports read as runs: their names, and answers that belong to another report."""

import shutil
from pathlib import Path

import pytest

from edgekd.errors import ReportError
from edgekd.report.compare.runs import load_runs
from tests.report.compare.made_up import made_up_report, write_export


def test_a_folder_and_a_report_file_both_name_an_export(tmp_path: Path) -> None:
    a, b = write_export(tmp_path / "a", made_up_report("one")), write_export(tmp_path / "b", made_up_report("two"))

    runs = load_runs([a, b / "report.json"])

    assert [run.name for run in runs] == ["one", "two"]
    assert [run.answers is not None for run in runs] == [True, True]


def test_two_runs_of_one_pipeline_are_called_by_their_paths(tmp_path: Path) -> None:
    a, b = write_export(tmp_path / "a", made_up_report("one")), write_export(tmp_path / "b", made_up_report("one"))

    assert [run.name for run in load_runs([a, b])] == [str(a), str(b)]


def test_a_report_without_predictions_is_a_run_with_a_doubt(tmp_path: Path) -> None:
    a, b = write_export(tmp_path / "a", made_up_report("one")), write_export(tmp_path / "b", made_up_report("two"))
    (b / "predictions.npz").unlink()

    run = load_runs([a, b])[1]

    assert run.answers is None
    assert run.doubt == "there is no predictions.npz beside its report"


def test_predictions_of_another_run_are_not_used(tmp_path: Path) -> None:
    a = write_export(tmp_path / "a", made_up_report("one", 0.9))
    b = write_export(tmp_path / "b", made_up_report("two", 0.8))
    shutil.copy(a / "predictions.npz", b / "predictions.npz")

    run = load_runs([a, b])[1]

    assert run.answers is None
    assert run.doubt == "its predictions.npz does not agree with its report"


def test_fewer_than_two_exports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="compare: 1 export given; name two or more"):
        load_runs([write_export(tmp_path / "a", made_up_report())])


def test_an_export_given_twice_is_refused_whatever_its_spelling(tmp_path: Path) -> None:
    a = write_export(tmp_path / "a", made_up_report())

    with pytest.raises(ReportError, match="is given twice"):
        load_runs([a, a / ".." / "a" / "report.json"])
