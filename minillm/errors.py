"""Exceptions with messages for users, and how texts of others are printed in them."""

import re


class InputError(ValueError):
    """Bad input: a file, a line or an argument that is not as expected.

    The message is one line: "PLACE: expected ..., found ...".  The command line prints it and exits
    with status 2.
    """


class DivergedError(RuntimeError):
    """The loss or the gradient of a training is no longer a finite number.

    The input may be correct: a lower learning rate often helps.  The command line prints the
    message, one line, and exits with status 1.
    """


def short(value: object) -> str:
    """The form of a value in a message: on one line, and not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a number of thousands of digits
        text = "a very large number"
    return text if len(text) <= 60 else text[:57] + "..."


def escaped(text: str) -> str:
    r"""A text whose control characters, which could command a terminal, are escapes.

    >>> escaped("\x1b[2J and \a")
    '\\x1b[2J and \\x07'

    Line ends and tabs stay.
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def told(error: BaseException) -> str:
    """An exception of a reader's code, on one line."""
    return one_line(f"{type(error).__name__}: {error}", 300)


def one_line(text: str, most: int = 1000) -> str:
    """A message on one line of at most ``most`` characters, without control characters."""
    line = escaped(" ".join(text[: 2 * most].splitlines()))
    return line if len(line) <= most else line[: most - 3] + "..."
