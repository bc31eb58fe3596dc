"""What the documents say of the code is so."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]


MADE = ("yaml/", "commands.md", "api.md")


def packages() -> list[str]:
    """The floors from the top, as pyproject.toml has them, but for ``__main__``."""
    return [name for layer in FLOORS["layers"] for name in layer.split(" | ") if name != "__main__"]


def test_the_floors_are_those_that_are_checked_in_words_and_as_a_picture() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^    (cli > .*)$", text, re.MULTILINE)
    picture = (ROOT / "docs" / "floors.svg").read_text(encoding="utf-8")

    assert re.split(r" > |, ", line) == packages()
    assert re.findall(r'font-weight="bold"[^>]*>([^<]*)<', picture) == packages()


def test_there_are_fifteen_names_at_the_top_at_most() -> None:
    found = {
        path.stem for path in (ROOT / "edgekd").iterdir() if not path.name.startswith("_") and path.name != "py.typed"
    }

    assert found == set(packages())
    assert len(found) <= 15


def test_no_file_and_no_link_in_the_documents_leads_nowhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            # The site's build checks links to pages that are made from the code.
            if not link.startswith(MADE):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_file_has_more_than_350_lines() -> None:
    long = [
        path for path in (ROOT / "edgekd").rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 350
    ]

    assert long == []
