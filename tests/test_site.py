"""The documentation site is built without a warning, and what its tutorials tell to type and to write is understood."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from edgekd.cli import app
from edgekd.pipeline import Pipeline
from edgekd.stages import STAGES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.md")])


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """What stands after the language of each block of all pages, and its text."""
    for page in PAGES:
        for found in re.finditer(rf"^```{language}(.*?)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            yield found[1].strip(), found[2]


COMMANDS = sorted({line for _, text in blocks("bash") for line in text.splitlines() if line.startswith("edgekd ")})
FILES = [(about.partition('"')[2].rstrip('"'), text) for about, text in blocks("yaml") if about.startswith("title=")]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_has_a_page_for_each_stage(tmp_path: Path) -> None:
    build = pytest.importorskip("mkdocs.commands.build", reason="the extra docs is not installed")
    from mkdocs.config import load_config

    build.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))

    for kind in STAGES:
        page = tmp_path / "yaml" / kind.model_fields["stage"].default / "index.html"
        assert all(f"<code>{key}</code>" in page.read_text("utf-8") for key in kind.model_fields if key != "stage")


def test_there_are_commands_and_files_to_look_at() -> None:
    assert len(COMMANDS) > 8
    assert len(FILES) > 3


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_pages_is_one_that_edgekd_takes(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]

    command.make_context(command.name, words)


@pytest.mark.parametrize(("name", "text"), FILES, ids=[name for name, _ in FILES])
def test_a_file_of_the_pages_is_a_pipeline(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "mine.pt").touch()

    Pipeline.from_yaml(tmp_path / name)
