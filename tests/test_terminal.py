"""Progress without a terminal."""

import time

import pytest

from edgekd.cli.terminal import PlainProgress


def test_time_left_of_a_training_that_goes_on_counts_only_what_this_run_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went on after 60 of 100 steps; 20 more took 100 seconds, so the last 20 take as long."""
    clock = iter([0.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = PlainProgress()

    progress.work("train", 60, 100)
    progress.work("train", 80, 100)

    assert capsys.readouterr().out == "  train: 80/100, 100 s left\n"


def test_time_left_after_an_epoch_is_that_of_the_epochs_to_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 300.0, 300.0, 300.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = PlainProgress()

    progress.work("train", 0, 100)
    progress.epoch("train", 1, 4, {"loss": 0.5})

    assert capsys.readouterr().out == "  train epoch 1/4: loss 0.5000, 15 min left\n"


def test_work_of_no_pieces_is_no_division_by_zero(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress()

    progress.work("nothing", 0, 0)

    assert capsys.readouterr().out == ""
