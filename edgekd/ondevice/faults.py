"""The one error of the files that go along."""


# Not called FaultError: edgekd re-raises it as an EdgekdError, a device prints it as one line.
class Fault(Exception):  # noqa: N818
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
        text = f"{self.where}: {self.problem}" + (f"; {self.remedy}" if self.remedy else "")
        return printable(" ".join(text.split()))


def printable(text: str) -> str:
    r"""Text with every character that a terminal would obey, or that has no shape, written as its escape.

    >>> print(printable("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
