"""A user's own functions: imported by name, and known by their source."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.config.functions import named_function, source_digest

NETS = """
import torch
from helper_of_nets import WIDTH
from nets_package.deep import DEPTH


def small(num_classes, in_channels, image_size):
    layers = torch.nn.Conv2d(in_channels, WIDTH, 3), torch.nn.Flatten(), torch.nn.LazyLinear(num_classes)
    return torch.nn.Sequential(*layers)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of a user's, and what it imports from beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_of_mine.py").write_text(NETS)
    (tmp_path / "helper_of_nets.py").write_text("WIDTH = 8\n")
    (tmp_path / "nets_package").mkdir()
    (tmp_path / "nets_package" / "__init__.py").write_text("")
    (tmp_path / "nets_package" / "deep.py").write_text("from . import deeper\nDEPTH = deeper.DEPTH\n")
    (tmp_path / "nets_package" / "deeper.py").write_text("DEPTH = 1\n")
    (tmp_path / "stranger.py").write_text("import nets_of_mine\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("nets_", "helper_of_nets")):
            del sys.modules[name]


def changed(path: Path) -> bool:
    """Does another line in this file make another digest of the network?"""
    digest, text = source_digest("nets_of_mine:small"), path.read_text()
    path.write_text(text + "# another line\n")
    other = source_digest("nets_of_mine:small")
    path.write_text(text)
    assert source_digest("nets_of_mine:small") == digest
    return digest != other


@pytest.mark.parametrize(
    "file", ["nets_of_mine.py", "helper_of_nets.py", "nets_package/__init__.py", "nets_package/deep.py",
             "nets_package/deeper.py"],
)  # fmt: skip
def test_a_function_s_digest_holds_its_module_and_what_that_imports_from_its_folder(here: Path, file: str) -> None:
    assert changed(here / file)


def test_a_function_s_digest_holds_nothing_else_of_its_folder(here: Path) -> None:
    assert not changed(here / "stranger.py")


def test_modules_that_import_each_other_are_read_once(here: Path) -> None:
    (here / "nets_package" / "deeper.py").write_text("from nets_package.deep import DEPTH as AGAIN\nDEPTH = 1\n")

    assert changed(here / "nets_package" / "deeper.py")


def test_nothing_is_executed_for_a_digest(here: Path) -> None:
    (here / "helper_of_nets.py").write_text("raise RuntimeError\n")

    assert len(source_digest("nets_of_mine:small")) == 64
    assert "helper_of_nets" not in sys.modules


def test_what_was_imported_before_its_source_changed_is_imported_anew(here: Path) -> None:
    before = named_function("nets_of_mine:small", "model")(2, 1, 8)
    again = named_function("nets_of_mine:small", "model")
    (here / "helper_of_nets.py").write_text("WIDTH = 16\n")

    after = named_function("nets_of_mine:small", "model")(2, 1, 8)

    assert (before[0].out_channels, after[0].out_channels) == (8, 16)
    assert again is not named_function("nets_of_mine:small", "model")


def test_a_module_that_cannot_be_read_or_found_has_a_digest_too(here: Path) -> None:
    (here / "nets_of_mine.py").write_text("def broken(:\n")

    assert source_digest("nets_of_mine:small") != source_digest("no_such_module_of_mine:small")
