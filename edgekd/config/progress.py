"""How progress is told."""

from collections.abc import Mapping


class Progress:
    """Told what happens while a pipeline runs; this one keeps silent.

    A front end overrides what it wants to show. Nothing else in edgekd prints.
    """

    def note(self, text: str) -> None:
        """A line for the user."""

    def stage(self, label: str, index: int, total: int) -> None:
        """A stage begins: number ``index`` of ``total``, from 0."""

    def work(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` pieces of the work named ``label`` are ready."""

    def epoch(self, label: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """One pass over the training split ended with these figures."""
