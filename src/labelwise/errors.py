"""The exception for all errors that a user can correct."""

from __future__ import annotations

from collections.abc import Iterable


class LabelwiseError(ValueError):
    """Bad input or a state that a user can correct; the command line prints it in one line and exits with 2.

    Args:
        given: the wrong value or state, with its name.
        expected: a correct value or state.
        todo: the next thing to do.

    >>> print(LabelwiseError("an empty CSV file", "a header and one row per image", "check the path"))
    an empty CSV file; expected a header and one row per image; check the path
    >>> print(LabelwiseError("label 'a\\nb'", "one line", "rename it"))
    label 'a\\nb'; expected one line; rename it
    """

    def __init__(self, given: str, expected: str, todo: str) -> None:
        self.given, self.expected, self.todo = plain_line(given), plain_line(expected), plain_line(todo)
        super().__init__(f"{self.given}; expected {self.expected}; {self.todo}")

    def __reduce__(self) -> tuple[type[LabelwiseError], tuple[str, str, str]]:
        return type(self), (self.given, self.expected, self.todo)


def plain_line(text: str, most: int = 1200) -> str:
    """A text as one printable line: control characters become escapes, the middle of a long text is cut.

    >>> plain_line("a\\nb\\x1b[31m"), plain_line("x" * 3000).count("x")
    ('a\\\\nb\\\\x1b[31m', 1195)
    """
    text = _shortened(text, most)
    if text.isprintable():
        return text
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return _shortened(escaped, most)


def _shortened(text: str, limit: int) -> str:
    """A text without its middle, if it is longer than `limit`."""
    half = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[: limit - 5 - half]} ... {text[-half:]}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if the message is empty.

    >>> first_line(EOFError()), first_line(RuntimeError("this\\nand that"))
    ('EOFError', 'this')
    """
    return next(iter(str(error).splitlines()), type(error).__name__)


def advice(name: str, known: Iterable[str], prefix: str = "", otherwise: str = "correct it") -> str:
    """What to do about a wrong name: the nearest known one, if any is near.

    >>> advice("gama", ["gamma", "margin"], "loss."), advice("x", ["gamma"])
    ('did you mean loss.gamma?', 'correct it')
    """
    import difflib  # only for an error

    matches = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"did you mean {prefix}{matches[0]}?" if matches else otherwise


class Stopped(BaseException):
    """The work was stopped by a signal and can be resumed from disk; the command line exits with 75.

    Args:
        given: the signal, and the progress of the work.
        todo: the command to resume.

    >>> print(Stopped("stopped by SIGTERM at step 3 of 9", "labelwise train --out RUN --resume"))
    stopped by SIGTERM at step 3 of 9; go on with: labelwise train --out RUN --resume
    """

    def __init__(self, given: str, todo: str = "the same command") -> None:
        self.given, self.todo = given, todo
        super().__init__(f"{given}; go on with: {todo}")

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, str]]:
        return type(self), (self.given, self.todo)
