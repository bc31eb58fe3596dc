"""The only error class of the code that also runs on the device."""


# edgekd re-raises it as an EdgekdError; a device prints it as one line.
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
    r"""Text in which every control or invisible character is replaced by its escape sequence.

    >>> print(printable("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
