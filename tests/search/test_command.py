"""``edgekd search`` on the command line."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekd import cli
from edgekd.pipeline.search import search as module
from tests.report.search.made_up import made_up_front


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str, outcome: str = "pass") -> tuple[Any, list[Any]]:
    """The exit code of the command, with a search in place of the real one; and what that was called with."""
    given: list[Any] = []

    def search(*arguments: Any) -> Any:
        given.extend(arguments)
        return made_up_front(outcome=outcome)

    monkeypatch.setattr(module, "search", search)
    monkeypatch.setattr(sys, "argv", ["edgekd", "search", "file.yaml", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, given


def test_it_shows_the_front_and_the_file_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, given = called(monkeypatch, "--trials", "20", "--set", "seed=1", "--exports", "out", "--sampler", "nsga2")

    out = capsys.readouterr().out
    assert code == 0
    assert given[:5] == [Path("file.yaml"), ["seed=1"], 20, module.Places(Path("models"), Path("out")), "nsga2"]
    assert out.startswith("PASS  trial 5 is best")
    assert out.endswith(
        "front: out/mobilenet.search/front.html\nbest: edgekd pipeline run out/mobilenet.search/best.yaml\n"
    )


def test_json_is_the_record_and_a_missed_budget_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, given = called(monkeypatch, "--trials", "3", "--json", "--storage", "postgresql://host/db", outcome="fail")

    found = json.loads(capsys.readouterr().out)
    assert code == 1
    assert given[3].storage == "postgresql://host/db"
    assert (found["best"], len(found["trials"])) == (5, 20)


def test_without_optuna_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    code, given = called(monkeypatch, "--trials", "3")

    assert (code, given) == (2, [])
    assert capsys.readouterr().err == "edgekd: search: Optuna is not installed here; pip install 'edgekd[search]'\n"
