"""One exception for everything that a person can put right."""

from __future__ import annotations


class LabelwiseError(ValueError):
    """Bad input or a state that a person can mend; the command line prints it in one line and exits with 2.

    Args:
        given: what was found, with its name or value.
        expected: what would have been right.
        todo: the next thing to do.

    >>> print(LabelwiseError("an empty CSV file", "a header and one row per image", "check the path"))
    an empty CSV file; expected a header and one row per image; check the path
    """

    def __init__(self, given: str, expected: str, todo: str) -> None:
        self.given, self.expected, self.todo = given, expected, todo
        super().__init__(f"{given}; expected {expected}; {todo}")

    def __reduce__(self) -> tuple[type[LabelwiseError], tuple[str, str, str]]:
        return type(self), (self.given, self.expected, self.todo)


def first_line(error: BaseException) -> str:
    """What an exception says in its first line, or its kind where it says nothing.

    >>> first_line(EOFError()), first_line(RuntimeError("this\\nand that"))
    ('EOFError', 'this')
    """
    return next(iter(str(error).splitlines()), type(error).__name__)
