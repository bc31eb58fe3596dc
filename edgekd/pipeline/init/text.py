"""The pipeline file that ``edgekd init`` writes."""

import re

from edgekd.pipeline.init.choices import Choices
from edgekd.pipeline.init.look import Seen, in_words


def pipeline_text(name: str, seen: Seen, choices: Choices, command: str) -> str:
    """The file, each part with its reason.

    Args:
        name: of the pipeline.
        seen: the pictures.
        choices: what suits them.
        command: that runs the file.
    """
    about = "\n".join(f"# {line}" for line in in_words(seen))
    stages = [choices.teacher, choices.prune, choices.distill, choices.integers]
    lines = "\n".join(f"  # {stage.why}\n  - {stage.value}" for stage in stages)
    return f"""{about}
#   {command}
name: {name}
seed: 0
# {choices.data.why}
data: {choices.data.value}
# {choices.target.why}
target: {choices.target.value}
stages:
{lines}
  - {{stage: export}}
# {choices.budget.why}
budget: {choices.budget.value}
"""


def pipeline_name(folder: str) -> str:
    """A name for the pipeline of a folder.

    >>> pipeline_name("My photos (2)"), pipeline_name("...")
    ('My-photos-2', 'photos')
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder).strip("-_")[:60] or "photos"
