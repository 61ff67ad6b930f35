"""Exceptions with messages for users."""


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


def printable(text: str, most: int = 300) -> str:
    """A text of others in a message: on one line, without control characters, and not too long."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 3] + "..."
