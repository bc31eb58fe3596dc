"""``edgekd init``: a pipeline file for a folder of pictures, with a reason for each choice."""

from edgekd.pipeline.init.choices import Given, chosen
from edgekd.pipeline.init.look import Seen, look
from edgekd.pipeline.init.text import pipeline_text

__all__ = ["Given", "Seen", "chosen", "look", "pipeline_text"]
