"""The exceptions that users are meant to see."""


class InputError(ValueError):
    """Bad input: a file, a line or an argument that is not what was expected.

    Its message is one line that names the place, what was expected and what
    was found.  The command line prints it and exits with status 2.
    """


class DivergedError(RuntimeError):
    """The loss or the gradient of a training is no longer a finite number.

    This is not bad input: with a lower learning rate, the same model may well train on the same
    data.  The command line prints the message, one line, and exits with status 1.
    """


def short(value: object) -> str:
    """A value as a message shows it: on one line, and not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a number of thousands of digits
        text = "a very large number"
    return text if len(text) <= 60 else text[:57] + "..."
