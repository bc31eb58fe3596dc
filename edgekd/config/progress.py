"""The interface through which progress is reported."""

from collections.abc import Mapping


class Progress:
    """Receives what happens while a pipeline runs; this base class ignores it.

    A front end overrides what it wants to show. Nothing else in edgekd prints.
    """

    def note(self, text: str) -> None:
        """A line for the user."""

    def stage(self, label: str, index: int, total: int) -> None:
        """A stage begins: number ``index`` of ``total``, from 0."""

    def work(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` units of the work called ``label`` are finished."""

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """One pass over the training split ended with these figures."""
