"""The one error of the files that go along."""


class Fault(Exception):  # noqa: N818  (told further as an EdgekdError, or as one line on a device)
    """What is wrong, in one line.

    Args:
        where: a file or an option.
        problem: what is wrong, with what was found.
        remedy: what to do next; may be empty.
    """

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        super().__init__(where, problem, remedy)
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        return shown(f"{self.where}: {self.problem}" + (f"; {self.remedy}" if self.remedy else ""))


def shown(text: str) -> str:
    """Text on one line that no terminal obeys: characters without a shape are written as their escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(text.split()))
