"""A pipeline file mutated at random gives a pipeline or one line, never a traceback."""

import tempfile
import textwrap
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd import Pipeline
from edgekd.errors import ConfigError
from tests.chain import YAML

TEXT = textwrap.dedent(YAML)
ODD = [
    ".nan",
    "null",
    "[]",
    "{}",
    "1e400",
    "9" * 5000,
    "-1",
    "true",
    "~",
    "'",
    '"',
    "\x00",
    "\x1b[31m",
    "é",
    "a" * 3000,
    "!!set x",
    "*a",
    "?",
]
EDITS = st.tuples(
    st.sampled_from(["delete", "insert", "odd", "swap"]),
    st.integers(0, len(TEXT)),
    st.integers(1, 12),
    st.sampled_from(ODD),
    st.text(max_size=3),
)


def mutate(text: str, edits: list[tuple[str, int, int, str, str]]) -> str:
    for kind, at, length, odd, letters in edits:
        if kind == "delete":
            text = text[:at] + text[at + length :]
        elif kind == "insert":
            text = text[:at] + letters + text[at:]
        elif kind == "odd":
            colon = text.find(": ", at) + 2
            text = text[:colon] + odd + text[colon + length :]
        else:
            lines = text.splitlines()
            first, second = at % len(lines) if lines else 0, length % len(lines) if lines else 0
            if lines:
                lines[first], lines[second] = lines[second], lines[first]
            text = "\n".join(lines)
    return text


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_a_mutated_file_is_a_pipeline_or_one_printable_line_per_mistake(
    edits: list[tuple[str, int, int, str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        path.write_text(mutate(TEXT, edits), encoding="utf-8", errors="replace", newline="")

        lines = told(path)

    assert all(line.isprintable() for line in lines), lines


def told(path: Path) -> list[str]:
    """What is wrong with a file, line by line; nothing where it is a pipeline."""
    try:
        Pipeline.from_yaml(path)
    except ConfigError as error:
        return error.lines
    return []
